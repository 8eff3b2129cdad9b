"""What `lenext cost` says in words: a table of layers, and advice with its numbers and its source."""

import dataclasses
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lenext.cli.cost_tree import tree_rows, with_unit
from lenext.cli.latency_text import with_time_unit
from lenext.cli.output import table

if TYPE_CHECKING:
    from lenext.costs.advice import Advice
    from lenext.costs.effective import EffectiveField
    from lenext.costs.field import LayerField
    from lenext.costs.hardware import Hardware
    from lenext.costs.memory import Memory
    from lenext.costs.operators import Cost, LayerCost
    from lenext.costs.spec import Row

CONVENTION = """\
MACs: of convolutions, linear layers and matrix products; 1 MAC = 2 FLOPs.
sees: pixels a side; +: and the whole image through a gate.
n x: modules that are alike, in all; below them is the inside of one."""
NOTHING = """\
nothing to say: no strong drop between stages, the field covers the image,
no filter that a chain of 3x3 would replace"""
NARROW = ("activations", "FLOP/B", "FLOPs", "output")  # columns that a narrow terminal does without, first to last

EFFECT = """\
in effect: side of a square of as many pixels as move the middle place by at least 4.55 % of the strongest
(Luo et al. 2016), on noise, with the weights as they are: a run's own, others drawn by torch"""
IMAGENET = 1_281_167  # training images of ILSVRC 2012

SENTENCES = {
    "Bottleneck": "{place}: hands on {numbers:,} numbers, {before} before it {numbers_before:,} ({left:.0%} are left)",
    "NarrowField": "{place}: sees {field} of {side} pixels a side{through}",
    "UnknownField": "{place}: what it sees is not known, for want of a rule for {names}",
    "LargeFilter": "{place}: {kernel}x{kernel}; {chain} layers of 3x3 see as much with {saved_params:,} parameters and "
    "{saved_macs:,} MACs fewer ({saved:.0%})",
}
RULES = {
    "Bottleneck": "less than a quarter left loses information, most of all early (Szegedy et al. 2015b, section 2)",
    "NarrowField": "accuracy grows with the field, which should cover the object (Araujo et al. 2019)",
    "UnknownField": "a guess would be worse than none",
    "LargeFilter": "3x3 in a row have fewer weights and more nonlinearities (Simonyan and Zisserman 2014, section 2.3)",
}


def tell_advice(advice: "Sequence[Advice]") -> str:
    """A line for each piece of advice, place and numbers, and under those of a kind the rule with its source."""
    lines = []
    for kind, rule in RULES.items():
        told = [SENTENCES[kind].format(**_numbers(one)) for one in advice if type(one).__name__ == kind]
        lines += [*told, f"    {rule}"] if told else []
    return "\n".join(lines or [NOTHING])


def advice_objects(advice: "Sequence[Advice]") -> list[dict[str, Any]]:
    """The same as objects."""
    return [
        {"kind": type(one).__name__, **dataclasses.asdict(one), "rule": RULES[type(one).__name__]} for one in advice
    ]


def _numbers(advice: "Advice") -> dict[str, Any]:
    told: dict[str, Any] = dataclasses.asdict(advice)
    match told:
        case {"numbers": numbers, "numbers_before": before}:
            told["left"] = numbers / before
        case {"gates": gates}:
            told["through"] = f"; {gates} modules let it learn of the whole image" if gates else ""
        case {"operators": operators}:
            told["names"] = ", ".join(operators)
        case {"params": params, "chain_params": chain, "macs": macs, "chain_macs": chain_macs}:
            told |= {"saved_params": params - chain, "saved_macs": macs - chain_macs, "saved": 1 - chain / params}
    return told


def heading(model: str, cost: "Cost") -> str:
    """What was counted, in few words."""
    return f"{model}, {_images(cost)}: {with_unit(cost.params)} parameters, {with_unit(cost.macs)} MACs"


def _images(cost: "Cost") -> str:
    image = "x".join(str(side) for side in cost.input_size)
    return image if cost.batch == 1 else f"{cost.batch:,} x {image}"


def totals_table(model: str, cost: "Cost") -> str:
    """What a batch costs in all."""
    rows = [
        ("network", model),
        ("input", _images(cost)),
        ("parameters", f"{cost.params:,}"),
        ("MACs", f"{cost.macs:,}"),
        ("FLOPs", f"{2 * cost.macs:,}"),
        ("weights", f"{cost.weight_bytes:,} bytes"),
        ("not counted", ", ".join(cost.uncounted)),
    ]
    if cost.training_macs is not None:
        rows.insert(5, ("a step of training", f"{cost.training_macs:,} MACs"))
    return table(rows)


def totals_object(cost: "Cost") -> dict[str, int]:
    """The same as an object, with what the layers' columns sum to."""
    told = {
        "params": cost.params,
        "auxiliary_params": cost.auxiliary_params,
        "macs": cost.macs,
        "flops": 2 * cost.macs,
        "activations": cost.activations,
        "activation_bytes": cost.activation_bytes,
        "weight_bytes": cost.weight_bytes,
        "traffic_bytes": cost.traffic_bytes,
    }
    return told | ({} if cost.training_macs is None else {"training_macs": cost.training_macs})


def spec_table(rows: "Sequence[Row]", image: Sequence[int], cost: "Cost", *, explain: bool) -> str:
    """The layers of `lenext cost --spec`, exact numbers; explain: the formulas under each."""
    cells = [("layer", "output", "parameters", "MACs"), ("image", "x".join(map(str, image)), "", "")]
    for row in rows:
        params, macs = (f"{number:,}" if number else "" for number in (row.params, row.macs))
        cells.append((row.text, "x".join(map(str, row.shape)), params, macs))
    lines = table([*cells, ("total", "", f"{cost.params:,}", f"{cost.macs:,}")], right=(1, 2, 3)).splitlines()
    if explain:
        under = {2 + i: [f"    {formula}" for formula in row.how] for i, row in enumerate(rows)}
        lines = [text for i, line in enumerate(lines) for text in (line, *under.get(i, []))]
    return "\n".join([*lines, "shapes are channels x height x width"])


def memory_table(model: str, image: Sequence[int], found: "Memory", optimizer: str) -> str:
    """What `lenext cost --memory` found: exact bytes, and MiB beside them."""
    names = {
        "weights and buffers": found.weights,
        "gradients": found.gradients,
        f"state of {optimizer}": found.optimizer,
        "images": found.images,
        "written by a forward pass": found.activations,
        "kept for backward": found.saved,
        "inference, at most": found.inference,
        "training, at most": found.training,
    }
    rows = [(name, f"{value:,} bytes", f"{value / 2**20:,.1f} MiB") for name, value in names.items()]
    heading = f"{model}, {found.batch:,} images of {'x'.join(map(str, image))}"
    return f"{heading}\n{table(rows, right=(1, 2))}"


def effective_table(found: "Sequence[EffectiveField]") -> str:
    """What could be seen, and what is seen in effect, pixels a side."""
    rows = [("place", "output", "could see", "sees in effect", "of it")]
    for one in found:
        field = "x".join(map(str, one.size)) or "unknown"
        share = f"{one.effective / max(one.size):.0%}" if one.size else ""
        rows.append((one.name, "x".join(map(str, one.output)), field, f"{one.effective:.1f}", share))
    return f"{table(rows, right=(1, 2, 3, 4))}\n{EFFECT}"


def tell_card(card: "Hardware", found: "Memory", seconds: float) -> str:
    """Whether a step fits a card, and what it would take at its peaks."""
    fits = "fits" if found.training <= card.memory else "does not fit"
    epoch = seconds * IMAGENET / found.batch
    used = f"; {card.used_for}" if card.used_for else ""
    return (
        f"{card.name} ({card.year}; {card.memory / 2**30:.0f} GiB, {card.flops / 1e12:.2f} TFLOP/s in float32, "
        f"{card.bandwidth / 1e9:.0f} GB/s{used}): a step of {found.batch:,} {fits}\n"
        f"at these peaks, operator by operator, a step takes {with_time_unit(seconds)}, "
        f"an epoch of ImageNet's {IMAGENET:,} images {epoch / 3600:.2f} h"
    )


def layer_objects(cost: "Cost", fields: "Iterable[LayerField]") -> list[dict[str, Any]]:
    """Each layer as an object, exact numbers, with the receptive field of its output."""
    from lenext.costs.operators import reason_not_counted

    seen = {field.name: field for field in fields}
    reasons = {name: reason_not_counted(name) for name in cost.uncounted}
    return [_layer_object(layer, seen.get(layer.name), reasons) for layer in cost.layers]


def _layer_object(layer: "LayerCost", seen: "LayerField | None", reasons: Mapping[str, str]) -> dict[str, Any]:
    told = {
        "name": layer.name,
        "kind": layer.kind,
        "calls": layer.calls,
        "output": list(layer.output),
        "convolutions": [dataclasses.asdict(one) for one in layer.convolutions],
        "params": layer.params,
        "macs": layer.macs,
        "flops": layer.flops,
        "activations": layer.activations,
        "activation_bytes": layer.activation_bytes,
        "weight_bytes": layer.weight_bytes,
        "traffic_bytes": layer.traffic_bytes,
        "flops_per_byte": round(layer.intensity, 3),
        "receptive_field": list(seen.size) if seen else [],
        "jump": list(seen.jump) if seen else [],
        "start": list(seen.start) if seen else [],
        "gates": list(seen.gates) if seen else [],
        "uncounted": {name: reasons[name] for name in layer.uncounted},
        "auxiliary": layer.auxiliary,
    }
    return told | ({} if layer.training_macs is None else {"training_macs": layer.training_macs})


def layer_tree(cost: "Cost", fields: "Sequence[LayerField]", depth: int) -> str:
    """The tree of layers as wide as a terminal, and how to read it."""
    rows = tree_rows(cost, fields, depth)
    for heading in NARROW:
        if max(map(len, table(rows).splitlines())) > shutil.get_terminal_size().columns:
            column = rows[0].index(heading)
            rows = [(*row[:column], *row[column + 1 :]) for row in rows]
    return f"{table(rows, right=range(2, len(rows[0])))}\n{CONVENTION}"


def flat_layers(layers: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The layers' objects as words for a table: exact, without what is no number, name or list of them."""
    nested = ("convolutions", "gates", "start")
    return [{key: _cell(value) for key, value in one.items() if key not in nested} for one in layers]


def tab_separated(rows: Sequence[Mapping[str, Any]]) -> str:
    """A heading and the rows; nothing where nothing was done."""
    if not rows:
        return ""
    return "\n".join("\t".join(map(str, line)) for line in (rows[0], *(row.values() for row in rows)))


def _cell(value: Any) -> str:
    if isinstance(value, list | dict):
        return ("x" if value and isinstance(next(iter(value)), int) else ",").join(map(str, value))
    return str(value)
