"""The layers of a network as a tree: under a module what is inside it, and neighbours that repeat in one row.

A module's row is the sum of all inside it and of what it does itself, so that the outermost rows sum to the total;
under several modules that are alike stands the inside of one. Heads that only training uses stand below the total.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lenext.costs.field import LayerField
    from lenext.costs.operators import Convolution, Cost, LayerCost


@dataclass
class Branch:
    """A module: its last name, its whole name, its own row where it has one, and the modules inside it."""

    name: str
    path: str
    own: "LayerCost | None" = None
    inside: "dict[str, Branch]" = field(default_factory=dict)

    def layers(self) -> "Iterator[LayerCost]":
        """Its own row and all below."""
        if self.own is not None:
            yield self.own
        for branch in self.inside.values():
            yield from branch.layers()

    def likeness(self) -> tuple[object, ...]:
        """All that two modules have in common for which one row may stand."""
        return tuple(
            (one.name[len(self.path) :], one.kind, one.calls, one.convolutions, *_figures([one]))
            for one in self.layers()
        )


def tree_rows(cost: "Cost", fields: "Iterable[LayerField]", depth: int) -> list[tuple[str, ...]]:
    """Rows of text under a heading, above a total, no deeper than `depth` modules; 0: down to the last layer."""
    fields_by_name = {one.name: one for one in fields}
    figures = ("params", "MACs", "FLOPs", "activations", *(["trained"] if cost.training_macs is not None else []))
    heading = ("layer", "what", "output", *figures, "FLOP/B", "sees")
    levels = depth or len(cost.layers) + 1
    counted, heads = ([one for one in cost.layers if one.auxiliary is wanted] for wanted in (False, True))
    root = _grow(counted)
    rows = [heading, *_rows(root, fields_by_name, levels, 0)]
    if root.own is not None:  # what the network does outside its modules
        rows.append(("(network)", root.own.kind, _sides(root.own.output), *_told([root.own]), ""))
    return [*rows, ("total", "", "", *_told(counted), ""), *_rows(_grow(heads), fields_by_name, levels, 0)]


def _grow(layers: "Iterable[LayerCost]") -> Branch:
    root = Branch("", "")
    for layer in layers:
        branch = root
        for name in layer.name.split(".") if layer.name else ():
            path = f"{branch.path}.{name}" if branch.path else name
            branch = branch.inside.setdefault(name, Branch(name, path))
        branch.own = layer
    return root


def _rows(branch: Branch, fields: "Mapping[str, LayerField]", depth: int, level: int) -> Iterator[tuple[str, ...]]:
    for alike in _neighbours_alike(branch.inside.values()):
        first, last = alike[0], alike[-1]
        seen, layers = fields.get(last.path), [layer for one in alike for layer in one.layers()]
        name = first.name if first is last else f"{first.name} to {last.name}"
        what = _what(first, fields.get(first.path))
        output = seen.output if seen else layers[-1].output
        sides = "" if seen is None else _sees(seen)
        many = f"{len(alike)} x " if first is not last else ""
        yield ("  " * level + name, many + what, _sides(output), *_told(layers), sides)
        if level + 1 < depth:
            yield from _rows(first, fields, depth, level + 1)


def _neighbours_alike(branches: Iterable[Branch]) -> list[list[Branch]]:
    groups: list[list[Branch]] = []
    for branch in branches:
        if groups and branch.inside and branch.likeness() == groups[-1][0].likeness():
            groups[-1].append(branch)
        else:
            groups.append([branch])
    return groups


def _figures(layers: "Sequence[LayerCost]") -> tuple[int, ...]:
    macs = sum(one.macs for one in layers)
    trained = [sum(one.training_macs or 0 for one in layers)] if layers and layers[0].training_macs is not None else []
    return (sum(one.params for one in layers), macs, 2 * macs, sum(one.activations for one in layers), *trained)


def _told(layers: "Sequence[LayerCost]") -> tuple[str, ...]:
    figures, traffic = _figures(layers), sum(one.traffic_bytes for one in layers)
    return (*map(with_unit, figures), f"{figures[2] / traffic:.1f}" if figures[2] else "-")


def _what(branch: Branch, seen: "LayerField | None") -> str:
    """Its class, the windows of its convolutions, and how often it ran."""
    layer = branch.own
    if not any(one.calls for one in branch.layers()):
        return f"{layer.kind if layer else ''}, not run".removeprefix(", ")
    kind = layer.kind if layer else seen.kind if seen else ""  # a list of modules runs nowhere itself
    if layer is None or branch.inside:
        return kind
    convolutions = " ".join(_convolution(one) for one in layer.convolutions)
    return f"{kind} {convolutions}".strip() + (f" (x{layer.calls})" if layer.calls > 1 else "")


def _convolution(conv: "Convolution") -> str:
    kernel, stride = (_sides(sides) for sides in (conv.kernel, conv.stride))
    told = kernel if set(conv.stride) == {1} else f"{kernel}/{conv.stride[0] if len(set(conv.stride)) == 1 else stride}"
    return told if conv.groups == 1 else f"{told} g{conv.groups}"


def _sees(seen: "LayerField") -> str:
    if seen.unknown:
        return "unknown"
    size = str(seen.size[0]) if len(set(seen.size)) == 1 else _sides(seen.size)
    return f"{size}+" if seen.gates else size


def _sides(sides: Iterable[int]) -> str:
    return "x".join(map(str, sides))


def with_unit(number: int) -> str:
    """Three digits and a unit: 999, 1.23k, 45.6M, 7.89G."""
    value, units = float(number), ["", "k", "M", "G", "T"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    digits = 0 if not value or number < 1000 else 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}{units[0]}"
