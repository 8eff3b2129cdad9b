"""What the papers say: one TOML file a family, one row a network, every figure with its source.

No figure here is made by lenext; tests hold the networks to the rows. Imports no torch.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lenext.config import from_mapping, read_toml

FAMILIES = (
    "lenet", "alexnet", "zfnet", "nin", "vgg", "googlenet", "bninception", "inceptionv3", "inceptionv4", "resnet",
    "stochdepth", "preact", "wrn", "resnext", "densenet", "senet", "mobilenetv1", "mobilenetv2", "mobilenetv3",
    "nasnet", "amoebanet", "enas", "efficientnet", "efficientnetv2", "convnext", "convnextv2",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Result:
    """A reported error in percent, under the protocol that it needs to be compared with another.

    verified: False where the figure has been seen second-hand only.
    """

    dataset: str
    protocol: str
    source: str
    top1_error: float | None = None
    top5_error: float | None = None
    verified: bool = True


@dataclass(frozen=True, kw_only=True)
class PaperRow:
    """One network as published: `params`, `macs` and `stage_shapes` (channels, height, width) hold at `input_size`.

    A source is a place in the row's own paper ("paper, Table 3"), a release ("torchvision 0.28.0 ...", "timm 1.0.31
    ...", "owner/name" on GitHub), or "derived: " with a sum that anybody can work out. auxiliary_params: of the heads
    that only training uses, not among `params`. printed: "params" and "macs" as the paper prints them, rounded.
    torchvision, timm, original (the authors' release): the name there where its network is the same function. recipe:
    the published way to train it. differences: from the paper, or to other code.
    """

    name: str
    family: str
    title: str
    authors: str
    year: int
    arxiv: str | None = None
    venue: str
    params: int
    params_source: str
    auxiliary_params: int = 0
    macs: int
    macs_source: str
    input_size: tuple[int, ...]
    num_classes: int
    stage_shapes: Mapping[str, tuple[int, ...]]
    shapes_source: str
    printed: Mapping[str, float] = field(default_factory=dict)
    results: tuple[Result, ...] = ()
    torchvision: str | None = None
    timm: str | None = None
    original: str | None = None
    recipe: str | None = None
    differences: tuple[str, ...] = ()


@functools.cache
def load_papers() -> Mapping[str, PaperRow]:
    """Every row by its name in the catalog, family by family."""
    rows = {}
    for family in FAMILIES:
        table = read_toml(Path(__file__).with_name(f"{family}.toml"))
        for name, row in table["rows"].items():
            rows[name] = _read_row(name, family, table, row)
    return MappingProxyType(rows)


def _read_row(name: str, family: str, table: Mapping[str, Any], row: Mapping[str, Any]) -> PaperRow:
    """Join a row with its group, which says what a table of the paper says once, and with the paper itself."""
    entry = {**table["groups"][row["group"]], **row}
    entry |= table["papers"][entry.pop("paper")]
    entry |= entry.pop("peers", {})
    del entry["group"]
    entry["params"], entry["params_source"] = row["params"]
    entry["macs"], entry["macs_source"] = row["macs"]
    entry["differences"] = table["groups"][row["group"]].get("differences", []) + row.get("differences", [])
    dataset = entry.pop("dataset")
    entry["results"] = [{"dataset": dataset, **result} for result in entry.get("results", [])]
    shapes = {"stem": entry.pop("stem")} if "stem" in entry else {}
    shapes |= {f"stages.{stage}": shape for stage, shape in entry.pop("stages").items()}
    entry["stage_shapes"] = MappingProxyType({place: tuple(shape) for place, shape in shapes.items()})
    return from_mapping(PaperRow, {"name": name, "family": family, **entry}, where=f"{family}.toml {name}")
