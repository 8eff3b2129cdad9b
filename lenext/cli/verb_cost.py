"""`lenext cost`: parameters and multiply-accumulates of a network, a run or a checkpoint."""

import dataclasses
import sys
from pathlib import Path

from lenext.cli import cost_text
from lenext.cli.output import put, put_json, table
from lenext.errors import UsageError


def show_cost(
    model: str = "",
    *,
    spec: str = "",
    explain: bool = False,
    size: int = 0,
    classes: int = 0,
    layers: bool = False,
    depth: int = 0,
    advise: bool = False,
    json: bool = False,
) -> None:
    """Count parameters and multiply-accumulates (MACs) of one image; of each layer, or with advice, where asked.

    Parameters
    ----------
    model
        A network's name, a run or a checkpoint folder.
    spec
        In place of a model, a chain of layers: "100x100x3: conv9x9-48 relu, maxpool2 stride2, fc100".
    explain
        With --spec, the formula behind every number.
    size
        Height and width of the image in pixels; the paper's, or the run's own, unless told otherwise.
    classes
        Number of classes; the paper's unless told otherwise.
    layers
        A table of the layers: cost, and the pixels that a place of each sees. Piped, exact and separated by tabs.
    depth
        Sum the layers below that many names in a terminal's table: 2 shows stages.conv2_x as one row.
    advise
        Name bottlenecks, a receptive field smaller than the image, and filters that a chain of 3x3 would replace.
    json
        Print an object.
    """
    if bool(model) == bool(spec) or (explain and not spec):
        raise UsageError(
            "cannot tell what to count", why="a model or --spec is asked for, and --explain is for --spec",
            advice="lenext cost resnet50, or lenext cost --spec '32x32x3: conv3x3-16 relu, fc10' --explain",
        )  # fmt: skip
    if spec:
        _show_spec(spec, explain=explain, json=json)
        return
    import torch

    from lenext import checkpoint
    from lenext.costs.advice import advise as find_advice
    from lenext.costs.field import receptive_fields
    from lenext.costs.operators import count_cost
    from lenext.experiment.config import checkpoint_folder
    from lenext.models.catalog import build, get_config

    if Path(model).is_dir():
        if classes:
            raise UsageError(
                "cannot change a run's classes", why="its network is trained for its own", advice="drop it"
            )
        card = checkpoint.load(checkpoint_folder(Path(model))).card
        row, changes, pixels = card.model, dict(card.changes), card.preprocessing["size"][0]
    else:
        row, changes, pixels = model, {"num_classes": classes} if classes else {}, get_config(model).input_size
    with torch.device("meta"):
        network = build(row, **changes)
    image = (network.config.in_channels, size or pixels, size or pixels)
    cost = count_cost(network, image)
    fields = receptive_fields(network, image) if layers or depth or advise else ()
    advice = find_advice(cost, fields, network.places()) if advise else []
    if json:
        told = {"layers": cost_text.layer_objects(cost, fields)} if layers or depth else {}
        told |= {"advice": cost_text.advice_objects(advice)} if advise else {}
        put_json(
            {"model": model, "input_size": list(cost.input_size), "params": cost.params, "macs": cost.macs,
             "flops": 2 * cost.macs, "weight_bytes": cost.weight_bytes, "uncounted": list(cost.uncounted)} | told
        )  # fmt: skip
        return
    if layers or depth:
        put(cost_text.layer_table(cost, fields, depth, aligned=sys.stdout.isatty()))
    if advise:
        put(cost_text.tell_advice(advice))
    if layers or depth or advise:
        return
    rows = [
        ("network", model),
        ("input", "x".join(str(side) for side in cost.input_size)),
        ("parameters", f"{cost.params:,}"),
        ("MACs", f"{cost.macs:,}"),
        ("FLOPs", f"{2 * cost.macs:,}"),
        ("weights", f"{cost.weight_bytes:,} bytes"),
        ("not counted", ", ".join(cost.uncounted)),
    ]
    put(table(rows))


def _show_spec(spec: str, *, explain: bool, json: bool) -> None:
    """The layers of a chain with exact numbers, counted by running it, and the formulas beside them."""
    import torch

    from lenext.costs.operators import count_cost
    from lenext.costs.spec import read_spec

    with torch.device("meta"):
        image, network, rows = read_spec(spec)
        cost = count_cost(network, image)
    if json:
        told = [dataclasses.asdict(row) for row in rows]
        put_json({"spec": spec, "input_size": list(image), "params": cost.params, "macs": cost.macs, "layers": told})
    else:
        put(cost_text.spec_table(rows, image, cost, explain=explain))
