"""`lenext cost`: parameters and multiply-accumulates of a network, a run or a checkpoint."""

import dataclasses
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lenext.cli import cost_text
from lenext.cli.output import put, put_json, table
from lenext.errors import UsageError

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.optim import Optimizer

    from lenext.models.classifier import Classifier


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
    memory: bool = False,
    batch: int = 32,
    optimizer: Literal["sgd", "adagrad", "rmsprop", "rmsprop_tf", "adam", "adamw"] = "sgd",
    fits: str = "",
    json: bool = False,
) -> None:
    """Count parameters and multiply-accumulates (MACs) of one image; where asked of each layer, advice, or memory.

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
    memory
        What training and inference hold in memory, to the byte that an operator allocates, in float32.
    batch
        Images at once, of --memory.
    optimizer
        Whose state --memory counts: one of training.optimizer.name, with its momentum.
    fits
        With --memory, a limit such as 8GB or 500MB: the largest batches that stay below it.
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
    if memory or fits:
        _show_memory(model, network, image, batch, optimizer, fits, json=json)
        return
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


def _show_memory(  # the options of --memory
    name: str, network: "Classifier", image: tuple[int, ...], batch: int, optimizer: str, fits: str, *, json: bool
) -> None:
    """What a step holds, and the largest batches below a limit."""
    from lenext.costs.memory import largest_batch, measure_memory
    from lenext.training.config import OptimizerConfig
    from lenext.training.optim import make_optimizer

    config = OptimizerConfig(name=optimizer)  # type: ignore[arg-type]  # the command line has refused all others

    def make(twin: "Module") -> "Optimizer":
        return make_optimizer(twin, config)

    limit = _bytes(fits) if fits else 0
    found = measure_memory(network, image, batch, make_optimizer=make)
    told: dict[str, Any] = {"model": name, "input_size": list(image), **dataclasses.asdict(found)}
    if limit:
        for use, train in (("training", True), ("inference", False)):
            told[f"largest_batch_{use}"] = largest_batch(network, image, limit, make_optimizer=make, train=train)
    if json:
        put_json(told)
    else:
        put(cost_text.memory_table(told, optimizer, fits))


def _bytes(text: str) -> int:
    """Read "8GB", "500 MB", "3GiB"; GB are powers of ten, GiB of two."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)(i?)B?", text.strip())
    if not found or float(found[1]) == 0:
        raise UsageError(f"cannot fit into {text!r}", why="it is no amount of memory", advice="--fits 8GB")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** " kMGT".index(found[2] or " "))


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
