"""Every network by name: the families' tables, merged explicitly."""

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lenext.config import from_mapping, nearest, to_mapping
from lenext.errors import UsageError
from lenext.models import lenet, resnet, vgg
from lenext.models.classifier import Classifier, NetworkConfig


@dataclass(frozen=True)
class Family:
    """One paper's table of variants, and the other names by which people know some of them."""

    variants: Mapping[str, NetworkConfig]
    aliases: Mapping[str, str]


FAMILIES: Mapping[str, Family] = {
    "lenet": Family(lenet.VARIANTS, lenet.ALIASES),
    "vgg": Family(vgg.VARIANTS, vgg.ALIASES),
    "resnet": Family(resnet.VARIANTS, resnet.ALIASES),
}

NETWORKS: Mapping[type[NetworkConfig], type[Classifier]] = {
    lenet.LeNet5Config: lenet.LeNet5,
    lenet.LeNetConfig: lenet.LeNet,
    vgg.VGGConfig: vgg.VGG,
    resnet.ResNetConfig: resnet.ResNet,
}

VARIANTS: Mapping[str, NetworkConfig] = {
    name: row for family in FAMILIES.values() for name, row in family.variants.items()
}
ALIASES: Mapping[str, str] = {alias: name for family in FAMILIES.values() for alias, name in family.aliases.items()}


def canonical_name(name: str) -> str:
    """The row's name behind an alias; a name that is neither is a UsageError with the nearest one."""
    name = ALIASES.get(name, name)
    if name not in VARIANTS:
        raise UsageError(
            f"unknown network {name!r}",
            why=f"the catalog has {len(VARIANTS)} networks and none of that name",
            advice=nearest(name, [*VARIANTS, *ALIASES]),
        )
    return name


def get_config(name: str, **changes: Any) -> NetworkConfig:
    """The row called `name` with `changes`; an unknown field or a wrong type is a UsageError that names it."""
    row = VARIANTS[canonical_name(name)]
    return from_mapping(type(row), {**to_mapping(row), **changes}) if changes else row


def build(name: str, **changes: Any) -> Classifier:
    """Build a network: `build("resnet18", num_classes=5)`.

    Its weights are torch's own draws from the global generator until `initialise` sets them.
    """
    config = get_config(name, **changes)
    return NETWORKS[type(config)](config)


def list_models(pattern: str = "*") -> list[str]:
    """Names of the catalog that match a shell pattern, family by family, in the order of their tables."""
    return [name for name in VARIANTS if fnmatch.fnmatchcase(name, pattern)]


def family_of(name: str) -> str:
    """The family whose table has the network."""
    name = canonical_name(name)
    return next(family for family, table in FAMILIES.items() if name in table.variants)


def fits(name: str, size: int) -> bool:
    """Whether the network accepts square images of `size` pixels a side."""
    return get_config(name).accepts(size)


def small_row(name: str) -> str | None:
    """The row that is this network's form for small images ("vgg16_bn" -> "vgg16_small"), or None."""
    small = f"{canonical_name(name).removesuffix('_bn')}_small"
    return small if small in VARIANTS else None
