"""`lenext cost`: parameters and multiply-accumulates of a network, a run or a checkpoint."""

import dataclasses
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lenext.cli import cost_text
from lenext.cli.output import put, put_json
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
    batch: int | None = None,
    optimizer: Literal["sgd", "adagrad", "rmsprop", "rmsprop_tf", "adam", "adamw"] | None = None,
    within: str = "",
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
        With --spec, and nothing else: the formula behind every number.
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
        Images at once, for --memory; 32 unless told otherwise.
    optimizer
        Whose state --memory counts, with its usual momentum; sgd unless told otherwise.
    within
        With --memory, a limit such as 8GB or 500MB: the largest batches that stay within it.
    json
        Print an object.
    """
    table, told = layers or depth > 0, (batch, optimizer, within)
    _refuse_first({
        "a model or --spec is asked for, one of them": bool(model) == bool(spec),
        "--spec, --memory, and --layers with --advise, are three answers": bool(spec) + memory + (table or advise) > 1,
        "--explain is for --spec": explain and not spec,
        "--size and --classes are for a model, and --spec says its own": bool(spec and (size or classes)),
        "--batch, --optimizer and --within are for --memory": not memory and told != (None, None, ""),
    })  # fmt: skip
    if spec:
        _show_spec(spec, explain=explain, json=json)
    elif memory:
        subject = _build(model, size, classes)
        _show_memory(model, subject, 32 if batch is None else batch, optimizer or "sgd", within, json=json)
    else:
        _show_layers(model, _build(model, size, classes), table=table, depth=depth, advise=advise, json=json)


def _refuse_first(reasons: Mapping[str, bool]) -> None:
    """An option that would do nothing is refused, for the first reason that holds."""
    for reason, holds in reasons.items():
        if holds:
            advice = "lenext cost resnet50, or lenext cost --spec '32x32x3: conv3x3-16 relu, fc10' --explain"
            raise UsageError("cannot tell what to count", why=reason, advice=advice)


def _build(model: str, size: int, classes: int) -> "tuple[Classifier, tuple[int, int, int]]":
    """The network without data, and the image it is asked about."""
    import torch

    from lenext import checkpoint
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
    return network, (network.config.in_channels, size or pixels, size or pixels)


def _show_layers(
    model: str, subject: "tuple[Classifier, tuple[int, int, int]]", *, table: bool, depth: int, advise: bool, json: bool
) -> None:
    """The cost of an image: totals, or of every layer, or advice."""
    from lenext.costs.advice import advise as find_advice
    from lenext.costs.field import receptive_fields
    from lenext.costs.operators import count_cost

    network, image = subject
    cost = count_cost(network, image)
    fields = receptive_fields(network, image) if table or advise else ()
    advice = find_advice(cost, fields, network.places()) if advise else []
    if json:
        told = {"layers": cost_text.layer_objects(cost, fields)} if table else {}
        told |= {"advice": cost_text.advice_objects(advice)} if advise else {}
        put_json(
            {"model": model, "input_size": list(cost.input_size), "params": cost.params, "macs": cost.macs,
             "flops": 2 * cost.macs, "weight_bytes": cost.weight_bytes, "uncounted": list(cost.uncounted)} | told
        )  # fmt: skip
        return
    if table:
        put(cost_text.layer_table(cost, fields, depth, aligned=sys.stdout.isatty()))
    if advise:
        put(cost_text.tell_advice(advice))
    if not (table or advise):
        put(cost_text.totals_table(model, cost))


def _show_memory(
    name: str,
    subject: "tuple[Classifier, tuple[int, int, int]]",
    batch: int,
    optimizer: str,
    within: str,
    *,
    json: bool,
) -> None:
    """What a step holds, and the largest batches within a limit."""
    from lenext.costs.memory import largest_batch, measure_memory
    from lenext.training.config import OptimizerConfig
    from lenext.training.optim import make_optimizer

    network, image = subject
    limit = _bytes(within) if within else None
    config = OptimizerConfig(name=optimizer)  # type: ignore[arg-type]  # the command line has refused all others

    def make(twin: "Module") -> "Optimizer":
        return make_optimizer(twin, config)

    found = measure_memory(network, image, batch, make_optimizer=make)
    largest = {}
    if limit is not None:
        for use, train in (("training", True), ("inference", False)):
            largest[use] = largest_batch(network, image, limit, make_optimizer=make, train=train)
    if json:
        told = {"model": name, "input_size": list(image), "optimizer": optimizer, "batch": batch}
        told |= {f"{key}_bytes": value for key, value in vars(found).items() if key != "batch"}
        put_json(told | ({"limit_bytes": limit, "largest_batch": largest} if limit is not None else {}))
    else:
        put(cost_text.memory_table(name, image, found, optimizer))
        if limit is not None:
            told_largest = ", ".join(f"{count:,} in {use}" for use, count in largest.items())
            put(f"largest batch within {within}: {told_largest}")
        put("tensors alone: torch itself and what kernels take while they work come on top")


def _bytes(text: str) -> int:
    """Read "8GB", "500 mb", "3GiB": GB are powers of ten, GiB of two."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt])(i?)b", text.strip().lower())
    number = float(found[1]) * (1024 if found[3] else 1000) ** (" kmgt".index(found[2])) if found else 0
    if number < 1:
        raise UsageError(
            f"cannot stay within {text!r}", why="it is no amount of memory with a unit", advice="--within 8GB"
        )
    return int(number)


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
