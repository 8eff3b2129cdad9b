"""`lenext cost`: parameters and multiply-accumulates of a network, a run or a checkpoint."""

import dataclasses
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import Parameter

from lenext.cli import cost_text
from lenext.cli.output import put, put_csv, put_json, say
from lenext.errors import UsageError
from lenext.run import write_durably

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.optim import Optimizer

    from lenext.costs.field import LayerField
    from lenext.costs.operators import Cost
    from lenext.costs.subject import Subject

SUFFIXES = (".svg", ".png")
TREE_DEPTH = 2  # of the tree on a terminal, unless told otherwise


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked, beside what the layers cost.

    Parameters
    ----------
    train
        What a training step multiplies, too, forward and backward.
    advise
        Name bottlenecks, a receptive field smaller than the image, and filters that a chain of 3x3 would replace.
    latency
        Measure here, layer by layer, how long a pass takes, beside the least that this machine's peaks allow.
    memory
        What training and inference hold in memory, to the byte that an operator allocates.
    optimizer
        Whose state --memory counts, with its usual momentum; sgd unless told otherwise.
    precision
        Of --memory: float32 unless told otherwise; bf16 is autocast, with weights and gradients in float32.
    within
        With --memory, a limit such as 8GB or 500MB: the largest batches that stay within it.
    device
        With --memory, a card of a small table, as gtx_580: its memory as the limit, and the least time of a step.
    """

    train: bool = False
    advise: bool = False
    latency: bool = False
    memory: bool = False
    optimizer: Literal["sgd", "adagrad", "rmsprop", "rmsprop_tf", "adam", "adamw"] | None = None
    precision: Literal["float32", "bf16"] | None = None
    within: str = ""
    device: str = ""

    @property
    def of_memory(self) -> bool:
        """Whether anything is told that only --memory heeds."""
        return bool(self.optimizer or self.precision or self.within or self.device)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Form:
    """How the answer is given.

    Parameters
    ----------
    depth
        A tree of the layers no deeper than that many modules, 0 for all, as a terminal shows it with 2.
    csv
        The layers as comma-separated values.
    json
        Print an object.
    plot
        Draw activation memory, parameters, MACs and what is seen, layer by layer, into that .svg or .png file.
    """

    depth: int | None = None
    csv: bool = False
    json: bool = False
    plot: Path | None = None


def show_cost(
    model: str = "",
    *,
    spec: str = "",
    explain: bool = False,
    size: str = "",
    classes: int = 0,
    batch: int | None = None,
    asked: Question = Question(),
    form: Form = Form(),
) -> None:
    """Count parameters and multiply-accumulates (MACs) layer by layer, and the pixels that a place of each sees.

    On a terminal a tree; piped, the layers exact and separated by tabs, and the totals on stderr.

    Parameters
    ----------
    model
        A network's name, a run or a checkpoint folder, file.py:factory, or an .onnx file.
    spec
        In place of a model, a chain of layers: "100x100x3: conv9x9-48 relu, maxpool2 stride2, fc100".
    explain
        With --spec, and nothing else: the formula behind every number.
    size
        Height and width of the image in pixels, or all its sides as 3x224x160; the paper's or the run's unless told.
    classes
        Number of classes; the paper's unless told otherwise.
    batch
        Images at once: 1 unless told otherwise, with --memory and --latency 32.
    """
    of_model = bool(size or classes or batch is not None)
    _refuse_first({
        "a model or --spec is asked for, one of them": bool(model) == bool(spec),
        "--explain is for --spec": explain and not spec,
        "--size, --classes and --batch are for a model": bool(spec) and of_model,
        **_contradictions(asked, form, spec=bool(spec)),
        "an ONNX file is counted and not run, one image as it stands": model.endswith(".onnx")
        and (asked != Question() or bool(classes) or batch is not None),
    })  # fmt: skip
    if spec:
        _show_spec(spec, explain=explain, json=form.json)
    elif model.endswith(".onnx"):
        from lenext.costs.subject import cost_of

        _give_layers(model, cost_of(model, _sides(size)), (), form)
    else:
        from lenext.costs.subject import find_subject

        subject = find_subject(model, size=_sides(size), classes=classes, data=asked.latency)
        _answer(subject, batch, asked, form)


def _answer(subject: "Subject", batch: int | None, asked: Question, form: Form) -> None:
    if asked.latency:
        _show_latency(subject, 32 if batch is None else batch, form)
    elif asked.memory:
        _show_memory(subject, 32 if batch is None else batch, asked, json=form.json)
    elif asked.advise:
        _show_advice(subject, json=form.json)
    else:
        _show_layers(subject, 1 if batch is None else batch, form, train=asked.train)


def _contradictions(asked: Question, form: Form, *, spec: bool) -> dict[str, bool]:
    """Options that do nothing beside each other."""
    deep = form.depth is not None and not asked.latency
    of_layers = asked.train or form.csv or form.plot is not None or deep
    return {
        "--spec, --memory, --latency, --advise and the layers are five answers": (
            spec + asked.memory + asked.latency + asked.advise + of_layers > 1
        ),
        "--csv and --json are two forms": form.csv and form.json,
        "--plot draws into an .svg or a .png file": form.plot is not None and form.plot.suffix.lower() not in SUFFIXES,
        "--optimizer, --precision, --within and --device are for --memory": not asked.memory and asked.of_memory,
        "--within and --device are two limits": bool(asked.within and asked.device),
    }


def _refuse_first(reasons: Mapping[str, bool]) -> None:
    """An option that would do nothing is refused, for the first reason that holds."""
    for reason, holds in reasons.items():
        if holds:
            advice = "lenext cost resnet50, or lenext cost --spec '32x32x3: conv3x3-16 relu, fc10' --explain"
            raise UsageError("cannot tell what to count", why=reason, advice=advice)


def _sides(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"(\d+(x\d+)*)?", text):
        why = "a size is whole numbers of pixels"
        raise UsageError(f"cannot count an image of {text}", why=why, advice="--size 224, or --size 3x224x160")
    return tuple(int(side) for side in text.split("x") if side)


def _show_layers(subject: "Subject", batch: int, form: Form, *, train: bool) -> None:
    """What every layer costs and sees."""
    from lenext.costs.field import receptive_fields
    from lenext.costs.operators import count_cost

    cost = count_cost(subject.model, subject.input_size, batch=batch, train=train)
    _give_layers(subject.name, cost, receptive_fields(subject.model, subject.input_size), form)


def _give_layers(name: str, cost: "Cost", fields: "Sequence[LayerField]", form: Form) -> None:
    """The layers in the form that was asked for, or that suits whoever reads."""
    if form.plot is not None:
        from lenext.reporting.cost_plots import draw_layers

        layers, heading = cost_text.layer_objects(cost, fields), cost_text.heading(name, cost)
        write_durably(form.plot, draw_layers(layers, heading, form.plot.suffix[1:].lower()))
        say(str(form.plot))
    if form.json:
        told = {"model": name, "input_size": list(cost.input_size), "batch": cost.batch}
        told |= {"totals": cost_text.totals_object(cost), "uncounted": list(cost.uncounted)}
        put_json(told | {"layers": cost_text.layer_objects(cost, fields)})
    elif form.csv:
        put_csv(cost_text.flat_layers(cost, fields))
    elif form.depth is not None or sys.stdout.isatty():
        put(cost_text.layer_tree(cost, fields, TREE_DEPTH if form.depth is None else form.depth))
        put(cost_text.totals_table(name, cost))
    else:
        put(cost_text.tab_separated(cost_text.flat_layers(cost, fields)))
        say(cost_text.totals_table(name, cost))


def _show_advice(subject: "Subject", *, json: bool) -> None:
    """What is striking, with its numbers and its source."""
    from lenext.costs.advice import advise
    from lenext.costs.field import receptive_fields
    from lenext.costs.operators import count_cost
    from lenext.models.classifier import Classifier

    cost, fields = count_cost(subject.model, subject.input_size), receptive_fields(subject.model, subject.input_size)
    places = subject.model.places() if isinstance(subject.model, Classifier) else ()
    advice = advise(cost, fields, places)
    if json:
        told = {"model": subject.name, "input_size": list(cost.input_size)}
        put_json(told | {"advice": cost_text.advice_objects(advice)})
    else:
        put(cost_text.tell_advice(advice))


def _show_latency(subject: "Subject", batch: int, form: Form) -> None:
    """Where the time of a pass goes, and what of it the roofline explains."""
    import torch

    from lenext.cli import latency_text
    from lenext.costs.latency import measure_latency
    from lenext.costs.operators import count_cost
    from lenext.device import candidate_plans

    cost = count_cost(subject.model, subject.input_size, batch=batch)
    images = torch.randn(batch, *subject.input_size, generator=torch.Generator().manual_seed(0))
    found = measure_latency(subject.model, images, candidate_plans(), cost=cost)
    if form.json:
        put_json({"model": subject.name, "input_size": list(subject.input_size)} | latency_text.as_object(found))
    elif form.depth is not None or sys.stdout.isatty():
        put(latency_text.time_table(found, TREE_DEPTH if form.depth is None else form.depth))
        put(latency_text.summary(cost_text.heading(subject.name, cost), found))
    else:
        put(
            cost_text.tab_separated([{key: str(cell) for key, cell in row.items()} for row in latency_text.flat(found)])
        )
        say(latency_text.summary(cost_text.heading(subject.name, cost), found))


def _show_memory(subject: "Subject", batch: int, asked: Question, *, json: bool) -> None:
    """What a step holds, and the largest batches within a limit."""
    from lenext.costs.hardware import find_hardware, least_seconds
    from lenext.costs.memory import largest_batch, measure_memory
    from lenext.costs.operators import count_cost
    from lenext.training.config import OptimizerConfig
    from lenext.training.optim import make_optimizer

    network, image = subject.model, subject.input_size
    card = find_hardware(asked.device) if asked.device else None
    limit = card.memory if card else _bytes(asked.within) if asked.within else None
    optimizer, precision = asked.optimizer or "sgd", asked.precision or "float32"
    config = OptimizerConfig(name=optimizer)

    def make(twin: "Module") -> "Optimizer":
        return make_optimizer(twin, config)

    found = measure_memory(network, image, batch, make_optimizer=make, precision=precision)
    largest = {}
    if limit is not None:
        for use, train in (("training", True), ("inference", False)):
            largest[use] = largest_batch(network, image, limit, make_optimizer=make, train=train, precision=precision)
    seconds = least_seconds(count_cost(network, image, batch=batch, train=True), card) if card else None
    if json:
        told: dict[str, Any] = {"model": subject.name, "input_size": list(image), "optimizer": optimizer}
        told |= {"precision": precision, "batch": batch}
        told |= {f"{key}_bytes": value for key, value in vars(found).items() if key != "batch"}
        told |= {"limit_bytes": limit, "largest_batch": largest} if limit is not None else {}
        put_json(told | ({"device": asked.device, "least_seconds": seconds} if card else {}))
        return
    put(cost_text.memory_table(f"{subject.name}, {precision}", image, found, optimizer))
    if limit is not None:
        told_largest = ", ".join(f"{count:,} in {use}" for use, count in largest.items())
        put(f"largest batch within {asked.within or asked.device}: {told_largest}")
    if card is not None and seconds is not None:
        put(cost_text.tell_card(card, found, seconds))
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
