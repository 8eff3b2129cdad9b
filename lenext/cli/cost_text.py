"""What `lenext cost` says in words: a table of layers, and advice with its numbers and its source."""

import dataclasses
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lenext.cli.output import table

if TYPE_CHECKING:
    from lenext.costs.advice import Advice
    from lenext.costs.field import LayerField
    from lenext.costs.memory import Memory
    from lenext.costs.operators import Convolution, Cost, LayerCost
    from lenext.costs.spec import Row

CONVENTION = """\
One image. MACs are those of convolutions, linear layers and matrix products;
1 MAC = 2 FLOPs. sees: pixels a side; +: and the whole image through a gate."""
NOTHING = """\
nothing to say: no strong drop between stages, the field covers the image,
no filter that a chain of 3x3 would replace"""
NARROW = ("activations", "FLOP/B", "FLOPs", "output")  # columns that a narrow terminal does without, first to last

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


def totals_table(model: str, cost: "Cost") -> str:
    """What one image costs in all."""
    return table(
        [
            ("network", model),
            ("input", "x".join(str(side) for side in cost.input_size)),
            ("parameters", f"{cost.params:,}"),
            ("MACs", f"{cost.macs:,}"),
            ("FLOPs", f"{2 * cost.macs:,}"),
            ("weights", f"{cost.weight_bytes:,} bytes"),
            ("not counted", ", ".join(cost.uncounted)),
        ]
    )


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
    heading = f"{model}, {found.batch:,} images of {'x'.join(map(str, image))}, float32"
    return f"{heading}\n{table(rows, right=(1, 2))}"


def layer_objects(cost: "Cost", fields: "Iterable[LayerField]") -> list[dict[str, Any]]:
    """Each layer as an object, exact numbers, with the receptive field of its output."""
    seen = {field.name: field for field in fields}
    return [
        {
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
            "field": list(seen[layer.name].size) if layer.name in seen else [],
            "jump": list(seen[layer.name].jump) if layer.name in seen else [],
            "gates": list(seen[layer.name].gates) if layer.name in seen else [],
            "uncounted": list(layer.uncounted),
            "auxiliary": layer.auxiliary,
        }
        for layer in cost.layers
    ]


def layer_table(cost: "Cost", fields: "Sequence[LayerField]", depth: int, *, aligned: bool) -> str:
    """The layers for a person, as wide as a terminal, or for a program: exact, separated by tabs, no total."""
    if aligned:
        rows = layer_rows(cost, fields, depth)
        for heading in NARROW:
            if max(map(len, table(rows).splitlines())) > shutil.get_terminal_size().columns:
                column = rows[0].index(heading)
                rows = [(*row[:column], *row[column + 1 :]) for row in rows]
        return f"{table(rows, right=range(2, len(rows[0])))}\n{CONVENTION}"
    objects = layer_objects(cost, fields)
    keys = [key for key in objects[0] if key not in ("convolutions", "gates")]
    lines = [keys, *([_cell(one[key]) for key in keys] for one in objects)]
    return "\n".join("\t".join(line) for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ("x" if value and isinstance(value[0], int) else ",").join(map(str, value))
    return str(value)


def layer_rows(cost: "Cost", fields: "Iterable[LayerField]", depth: int) -> list[tuple[str, ...]]:
    """Rows of text with a heading and a total; `depth` sums what lies deeper, 0 nothing."""
    seen = {field.name: field for field in fields}
    heading = ("layer", "what", "output", "params", "MACs", "FLOPs", "activations", "FLOP/B", "sees")
    rows: list[tuple[str, ...]] = [heading]
    for name, layers in _groups(cost.layers, depth).items():
        whole = len(layers) == 1 and layers[0].name == name
        what = _what(layers[0]) if whole else f"{len(layers)} layers"
        field = seen.get(name)
        output = field.output if field else layers[-1].output
        rows.append((name or "(network)", what, "x".join(map(str, output)), *_sums(layers), _sees(field)))
    return [*rows, ("total", "", "", *_sums(cost.layers), "")]


def _groups(layers: "Sequence[LayerCost]", depth: int) -> "Mapping[str, list[LayerCost]]":
    groups: dict[str, list[LayerCost]] = {}
    for layer in layers:
        groups.setdefault(".".join(layer.name.split(".")[: depth or None]), []).append(layer)
    return groups


def _sums(layers: "Sequence[LayerCost]") -> tuple[str, ...]:
    macs = sum(layer.macs for layer in layers)
    traffic = sum(layer.traffic_bytes for layer in layers)
    figures = (sum(layer.params for layer in layers), macs, 2 * macs, sum(layer.activations for layer in layers))
    return (*map(with_unit, figures), f"{2 * macs / traffic:.1f}" if macs else "-")


def _what(layer: "LayerCost") -> str:
    if not layer.calls:
        return f"{layer.kind}, not run"
    convolutions = " ".join(_convolution(one) for one in layer.convolutions)
    return f"{layer.kind} {convolutions}".strip() + (f" (x{layer.calls})" if layer.calls > 1 else "")


def _convolution(conv: "Convolution") -> str:
    kernel, stride = ("x".join(map(str, sides)) for sides in (conv.kernel, conv.stride))
    told = kernel if set(conv.stride) == {1} else f"{kernel}/{conv.stride[0] if len(set(conv.stride)) == 1 else stride}"
    return told if conv.groups == 1 else f"{told} g{conv.groups}"


def _sees(field: "LayerField | None") -> str:
    if field is None:
        return ""
    if field.unknown:
        return "unknown"
    size = str(field.size[0]) if len(set(field.size)) == 1 else "x".join(map(str, field.size))
    return f"{size}+" if field.gates else size


def with_unit(number: int) -> str:
    """Three digits and a unit: 999, 1.23k, 45.6M, 7.89G."""
    value, units = float(number), ["", "k", "M", "G", "T"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    digits = 0 if not value or number < 1000 else 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}{units[0]}"
