"""Recipes: how to train, one TOML each, naming neither network nor data except where it says what it was made for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenext.config import from_mapping, nearest, read_toml
from lenext.errors import UsageError

FOLDER = Path(__file__).parent
FALLBACK = "one_cycle"
PHOTOGRAPHS = "photographs"
FINE_TUNING = "fine_tuning"
SMALL = 64  # pixels: larger images are taken for photographs
TABLES = ("training", "augment")


@dataclass(frozen=True, kw_only=True)
class About:
    """Where a recipe comes from.

    source: paper and section. published_for: networks it was printed for. default_for: networks that are trained by
    it unless told otherwise. departures: what differs from the source, each with its reason.
    """

    source: str
    published_for: tuple[str, ...] = ()
    default_for: tuple[str, ...] = ()
    departures: tuple[str, ...] = ()


def list_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_recipe(name: str) -> tuple[About, dict[str, Any]]:
    """Read a recipe by name, or by the path of a TOML file; return what it says of itself, and its tables."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        raise UsageError(
            f"unknown recipe {name!r}", why="neither a name nor a .toml file", advice=nearest(name, list_recipes())
        )
    tables = read_toml(path)
    about = from_mapping(About, tables.pop("about", {}), "about")
    for key in tables:
        if key not in TABLES:
            why = f"it names {key!r}, and a recipe tells how to train, nothing else"
            raise UsageError(f"cannot use recipe {name!r}", why=why, advice=nearest(key, TABLES))
    return about, tables


def default_recipe(model: str, native: int) -> str:
    """The recipe that names the network as its own, else the one for images of `native` pixels (0: of many sizes)."""
    fallback = FALLBACK if 0 < native <= SMALL else PHOTOGRAPHS
    return next((name for name in list_recipes() if model in read_recipe(name)[0].default_for), fallback)
