"""TOML <-> frozen dataclasses: strict in names and types, with the nearest name as a hint."""

import copy
import dataclasses
import difflib
import hashlib
import json
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import tomli_w

from lenext.errors import UsageError

T = TypeVar("T")


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a hint: the closest of `names`, or the first few of them."""
    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else "one of: " + ", ".join(known[:12])


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file; a syntax error is a UsageError that names the line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"cannot read {path}", why="there is no such file", advice="check the path") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}", why=error.strerror or str(error), advice="check the path") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read {path}", why=f"not TOML: {error}", advice="correct the line") from error


def from_mapping(cls: type[T], mapping: Mapping[str, Any], where: str = "") -> T:
    """Build the frozen dataclass `cls` from a mapping.

    Missing keys take the field's default; unknown keys and wrong types are a UsageError naming the dotted key.
    """
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in mapping:
        if key not in fields:
            raise UsageError(
                f"unknown key {_dotted(where, key)!r}",
                why=f"{cls.__name__} has no such field",
                advice=nearest(key, fields),
            )
    values = {key: _coerce(hints[key], value, _dotted(where, key)) for key, value in mapping.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise UsageError(f"cannot use the table {where or cls.__name__!r}", why=str(error), advice="mend it") from error


def to_mapping(config: Any) -> dict[str, Any]:
    """Return the dataclass as plain TOML values; fields that are None are left out (TOML has no null)."""
    return {
        field.name: _plain(getattr(config, field.name))
        for field in dataclasses.fields(config)
        if getattr(config, field.name) is not None
    }


def to_toml(mapping: Mapping[str, Any]) -> str:
    """Return TOML text that `read_toml` reads back to an equal mapping."""
    return tomli_w.dumps(dict(mapping))


def override(mapping: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Return a copy with each `a.b=value` of `--set` applied; values are TOML, bare words are strings."""
    result = copy.deepcopy(dict(mapping))
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator or not key:
            raise UsageError(f"cannot set {setting!r}", why="no '=' in it", advice="--set training.epochs=3")
        *tables, last = key.strip().split(".")
        table: Any = result
        for name in tables:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise UsageError(f"cannot set {key!r}", why=f"{name!r} is a value", advice="drop what follows it")
        table[last] = _toml_value(text.strip())
    return result


def digest(mapping: Mapping[str, Any]) -> str:
    """SHA-256 of the mapping in a canonical form; equal for equal content whatever the order of keys."""
    return hashlib.sha256(json.dumps(mapping, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def differing_keys(one: Mapping[str, Any], other: Mapping[str, Any], where: str = "") -> list[str]:
    """Dotted keys whose values differ between two nested mappings, sorted."""
    keys: list[str] = []
    for key in sorted({*one, *other}):
        a, b = one.get(key), other.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            keys += differing_keys(a, b, _dotted(where, key))
        elif a != b:
            keys.append(_dotted(where, key))
    return keys


def _dotted(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_mapping(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _coerce(hint: Any, value: Any, where: str) -> Any:
    """Check `value` against a field's type; ints pass as floats, lists become tuples, tables dataclasses."""
    origin = get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        inner = [option for option in get_args(hint) if option is not type(None)]
        return None if value is None and len(inner) < len(get_args(hint)) else _coerce(inner[0], value, where)
    if origin is typing.Literal:
        choices = [str(choice) for choice in get_args(hint)]
        if value not in get_args(hint):
            raise UsageError(f"{where} = {value!r}", why="not one of its values", advice=nearest(str(value), choices))
        return value
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return from_mapping(typing.cast(type[Any], hint), value, where)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(
            _coerce(item, entry, f"{where}[{i}]")
            for i, (item, entry) in enumerate(zip(_item_types(hint, value, where), value, strict=True))
        )
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = origin or hint
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise UsageError(
            f"{where} = {value!r}",
            why=f"it takes {_type_name(hint)}, and this is {type(value).__name__}",
            advice=f"--set {where}=...",
        )
    return value


def _item_types(hint: Any, value: Sequence[Any], where: str) -> Sequence[Any]:
    """The type of each item of a tuple: `tuple[float, ...]` takes any number, `tuple[int, int]` takes two."""
    items = get_args(hint)
    if len(items) == 2 and items[1] is Ellipsis:
        return (items[0],) * len(value)
    if len(items) != len(value):
        raise UsageError(
            f"{where} = {value!r}",
            why=f"it takes {len(items)} values, and this has {len(value)}",
            advice=f"--set {where}=[...]",
        )
    return items


def _type_name(hint: Any) -> str:
    return str(hint) if get_origin(hint) else str(getattr(hint, "__name__", hint))
