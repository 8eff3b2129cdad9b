"""Who won the classification of the ImageNet Large Scale Visual Recognition Challenge, with which error and depth.

As in the families' files, no figure is made by lenext. Imports no torch.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

from lenext.config import from_mapping, read_toml


@dataclass(frozen=True, kw_only=True)
class Human:
    """What a person reached on images of the challenge: the top-5 error in per cent."""

    top5_error: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A team's entry: top-5 errors in per cent on test images whose labels are not public.

    outside_error: trained with images beside the challenge's own. networks: averaged, None where it is not published.
    layers: with weights, of the deepest, or None, and no_layers says why. network: the row of one of them. verified:
    False where the error has been seen second-hand only.
    """

    year: int
    team: str
    method: str
    won: bool
    top5_error: float
    outside_error: float | None = None
    source: str
    networks: int | None = None
    layers: int | None = None
    layers_source: str = ""
    no_layers: str = ""
    network: str | None = None
    verified: bool = True


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """Its entries by year, and a person beside them."""

    human: Human
    entries: tuple[Entry, ...]


@functools.cache
def load_challenge() -> Challenge:
    """The facts of ilsvrc.toml."""
    return from_mapping(Challenge, read_toml(Path(__file__).with_name("ilsvrc.toml")), where="ilsvrc.toml")
