"""Key maps: how another library calls the tensors of a family, one TOML file a family, one table a source.

A table has `rename`, pairs of a regular expression and what replaces it, applied in turn to each of their names; then
`in_order`, for chains that they number otherwise than we do; and `drop`, expressions of names without a counterpart. A
pair of `in_order` is of two prefixes, ["features", "stages"]: the layers with tensors below theirs are, in order, those
below ours; or of two patterns, ["_blocks.*", "stages.*.*"]: what they call _blocks.0, _blocks.1, ... is, in order, what
we call stages.1.0, stages.1.1, ..., and the names within stay. `like` names another table, "convnext.timm", whose rules
come before its own.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lenext.config import from_mapping, read_toml
from lenext.errors import UsageError

FOLDER = Path(__file__).parent / "maps"
SOURCES = ("torchvision", "timm", "original")


@dataclass(frozen=True, kw_only=True)
class KeyMap:
    """One source's names of a family's tensors."""

    rename: tuple[tuple[str, str], ...] = ()
    in_order: tuple[tuple[str, str], ...] = ()
    drop: tuple[str, ...] = ()

    def translate(self, theirs: Iterable[str], ours: Iterable[str]) -> dict[str, str]:
        """Return their name -> our name, for those that are not dropped."""
        names = {name: name for name in theirs if not any(re.search(pattern, name) for pattern in self.drop)}
        for pattern, replacement in self.rename:
            names = {theirs: re.sub(pattern, replacement, name) for theirs, name in names.items()}
        own = list(ours)
        for prefix, target in self.in_order:
            parts = dict(zip(_parts(names.values(), prefix), _parts(own, target), strict=False))
            for theirs, name in names.items():
                part = _part_of(name, prefix)
                names[theirs] = parts[part] + name[len(part) :] if part in parts else name
        return names


@functools.cache
def key_map(family: str, source: str) -> KeyMap:
    """The map of a family from "torchvision", "timm" or "original", its authors' release."""
    path = FOLDER / f"{family}.toml"
    tables: Mapping[str, Mapping[str, object]] = read_toml(path) if path.is_file() else {}
    if source not in tables:
        raise UsageError(
            f"cannot read weights of {source!r} into this network",
            why=f"there is no key map of {family} from it",
            advice=f"one of: {', '.join(tables)}" if tables else "weights of lenext itself",
        )
    table = dict(tables[source])
    like = str(table.pop("like", ""))
    own = from_mapping(KeyMap, table, f"{path.name} {source}")
    first = key_map(*like.split(".")) if like else KeyMap()
    return KeyMap(rename=first.rename + own.rename, in_order=first.in_order + own.in_order, drop=first.drop + own.drop)


def _parts(names: Iterable[str], pattern: str) -> list[str]:
    """What the pattern picks out of the names, in the order of the numbers in it, else in the order of the names."""
    found = list(dict.fromkeys(part for name in names if (part := _part_of(name, pattern))))
    return sorted(found, key=_numbers) if all(_numbers(part) for part in found) else found


def _part_of(name: str, pattern: str) -> str:
    """The start of a tensor's name that the pattern covers, or its layer below a prefix; "" where neither is."""
    words, wanted = name.split("."), pattern.split(".")
    if len(words) <= len(wanted) or any(want not in ("*", word) for want, word in zip(wanted, words, strict=False)):
        return ""
    return ".".join(words[: len(wanted)]) if "*" in wanted else name.rpartition(".")[0]


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split(".") if re.fullmatch("[0-9]{1,9}", part))
