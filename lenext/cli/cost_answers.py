"""The answers of `lenext cost`, each a thin shell over lenext.costs; heavy imports inside."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lenext.cli import cost_text
from lenext.cli.cost_options import Form, Question
from lenext.cli.output import put, put_csv, put_json, read_amount, say
from lenext.errors import UsageError
from lenext.run import write_durably

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from torch.optim import Optimizer

    from lenext.costs.field import LayerField
    from lenext.costs.operators import Cost
    from lenext.costs.subject import Subject

TREE_DEPTH = 2  # of the tree on a terminal, unless told otherwise


def show_layers(subject: "Subject", batch: int, form: Form, *, train: bool) -> None:
    """What every layer costs and sees."""
    from lenext.costs.field import receptive_fields
    from lenext.costs.operators import count_cost

    cost = count_cost(subject.model, subject.input_size, batch=batch, train=train)
    give_layers(subject.name, cost, receptive_fields(subject.model, subject.input_size), form)


def give_layers(name: str, cost: "Cost", fields: "Sequence[LayerField]", form: Form) -> None:
    """The layers in the form that was asked for, or that suits whoever reads."""
    layers = cost_text.layer_objects(cost, fields)
    if form.plot is not None:
        from lenext.reporting.cost_plots import draw_layers

        write_durably(form.plot, draw_layers(layers, cost_text.heading(name, cost), form.plot.suffix[1:].lower()))
        say(str(form.plot))
    if form.json:
        told = {"model": name, "input_size": list(cost.input_size), "batch": cost.batch}
        told |= {"totals": cost_text.totals_object(cost), "uncounted": list(cost.uncounted)}
        put_json(told | {"layers": layers})
    elif form.csv:
        put_csv(cost_text.flat_layers(layers))
    elif form.depth is not None or sys.stdout.isatty():
        put(cost_text.layer_tree(cost, fields, TREE_DEPTH if form.depth is None else form.depth))
        put(cost_text.totals_table(name, cost))
    else:
        put(cost_text.tab_separated(cost_text.flat_layers(layers)))
        say(cost_text.totals_table(name, cost))


def show_advice(subject: "Subject", *, json: bool) -> None:
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


def show_effective(subject: "Subject", batch: int, *, json: bool) -> None:
    """What the middle of each map could see, and what moves it."""
    from lenext.costs.effective import effective_fields

    found = effective_fields(subject.model, _noise(subject, batch))
    if json:
        told = [{key: value for key, value in vars(one).items() if key != "gradient"} for one in found]
        put_json({"model": subject.name, "input_size": list(subject.input_size), "batch": batch, "places": told})
    else:
        put(cost_text.effective_table(found))


def _noise(subject: "Subject", batch: int) -> "Tensor":
    """The same every time, of the type of the network's weights."""
    import torch

    kind = next((tensor.dtype for tensor in subject.model.parameters() if tensor.is_floating_point()), torch.float32)
    return torch.randn(batch, *subject.input_size, generator=torch.Generator().manual_seed(0)).to(kind)


def show_latency(subject: "Subject", batch: int, form: Form) -> None:
    """Where the time of a pass goes, and what of it the roofline explains."""
    from lenext.cli import latency_text
    from lenext.costs.latency import measure_latency
    from lenext.costs.operators import count_cost
    from lenext.device import candidate_plans

    cost = count_cost(subject.model, subject.input_size, batch=batch)
    images = _noise(subject, batch)
    found = measure_latency(subject.model, images, candidate_plans(), cost=cost)
    if form.json:
        put_json({"model": subject.name, "input_size": list(subject.input_size)} | latency_text.as_object(found))
    elif form.depth is not None or sys.stdout.isatty():
        put(latency_text.time_table(found, TREE_DEPTH if form.depth is None else form.depth))
        put(latency_text.summary(cost_text.heading(subject.name, cost), found))
    else:
        put(cost_text.tab_separated(latency_text.flat(found)))
        say(latency_text.summary(cost_text.heading(subject.name, cost), found))


def show_memory(subject: "Subject", batch: int, asked: Question, *, json: bool) -> None:
    """What a step holds, and the largest batches within a limit."""
    from lenext.costs.hardware import find_hardware, seconds_at_peak
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
    seconds = seconds_at_peak(count_cost(network, image, batch=batch, train=True), card) if card else None
    if json:
        told: dict[str, Any] = {"model": subject.name, "input_size": list(image), "optimizer": optimizer}
        told |= {"precision": precision, "batch": batch}
        told |= {f"{key}_bytes": value for key, value in vars(found).items() if key != "batch"}
        told |= {"limit_bytes": limit, "largest_batch": largest} if limit is not None else {}
        put_json(told | ({"device": asked.device, "seconds_at_peak": seconds} if card else {}))
        return
    put(cost_text.memory_table(f"{subject.name}, {precision}", image, found, optimizer))
    if limit is not None:
        told_largest = ", ".join(f"{count:,} in {use}" for use, count in largest.items())
        put(f"largest batch within {asked.within or asked.device}: {told_largest}")
    if card is not None and seconds is not None:
        put(cost_text.tell_card(card, found, seconds))
    put("tensors alone: torch itself and what kernels take while they work come on top")


def _bytes(text: str) -> int:
    number = read_amount(text)
    if number < 1:
        raise UsageError(
            f"cannot stay within {text!r}", why="it is no amount of memory with a unit", advice="--within 8GB"
        )
    return number


def show_spec(spec: str, *, explain: bool, json: bool) -> None:
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
