"""Every network by name: the families' tables, merged explicitly."""

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lenext.config import from_mapping, nearest, to_mapping
from lenext.errors import UsageError
from lenext.models import (
    alexnet,
    amoebanet,
    bninception,
    convnext,
    convnextv2,
    densenet,
    efficientnet,
    efficientnetv2,
    enas,
    googlenet,
    inception_resnet,
    inceptionv3,
    inceptionv4,
    lenet,
    mobilenetv1,
    mobilenetv2,
    mobilenetv3,
    nasnet,
    nin,
    preact,
    resnet,
    resnext,
    senet,
    stochdepth,
    vgg,
    wrn,
    zfnet,
)
from lenext.models.classifier import Classifier, NetworkConfig


@dataclass(frozen=True)
class Family:
    """One paper's table of variants, and the other names by which people know some of them."""

    variants: Mapping[str, NetworkConfig]
    aliases: Mapping[str, str]


FAMILIES: Mapping[str, Family] = {
    "lenet": Family(lenet.VARIANTS, lenet.ALIASES),
    "alexnet": Family(alexnet.VARIANTS, alexnet.ALIASES),
    "zfnet": Family(zfnet.VARIANTS, zfnet.ALIASES),
    "nin": Family(nin.VARIANTS, nin.ALIASES),
    "vgg": Family(vgg.VARIANTS, vgg.ALIASES),
    "googlenet": Family(googlenet.VARIANTS, googlenet.ALIASES),
    "bninception": Family(bninception.VARIANTS, bninception.ALIASES),
    "inceptionv3": Family(inceptionv3.VARIANTS, inceptionv3.ALIASES),
    "inceptionv4": Family(
        {**inceptionv4.VARIANTS, **inception_resnet.VARIANTS}, {**inceptionv4.ALIASES, **inception_resnet.ALIASES}
    ),
    "resnet": Family(resnet.VARIANTS, resnet.ALIASES),
    "stochdepth": Family(stochdepth.VARIANTS, stochdepth.ALIASES),
    "preact": Family(preact.VARIANTS, preact.ALIASES),
    "wrn": Family(wrn.VARIANTS, wrn.ALIASES),
    "resnext": Family(resnext.VARIANTS, resnext.ALIASES),
    "densenet": Family(densenet.VARIANTS, densenet.ALIASES),
    "senet": Family(senet.VARIANTS, senet.ALIASES),
    "mobilenetv1": Family(mobilenetv1.VARIANTS, mobilenetv1.ALIASES),
    "mobilenetv2": Family(mobilenetv2.VARIANTS, mobilenetv2.ALIASES),
    "mobilenetv3": Family(mobilenetv3.VARIANTS, mobilenetv3.ALIASES),
    "nasnet": Family(nasnet.VARIANTS, nasnet.ALIASES),
    "amoebanet": Family(amoebanet.VARIANTS, amoebanet.ALIASES),
    "enas": Family(enas.VARIANTS, enas.ALIASES),
    "efficientnet": Family(efficientnet.VARIANTS, efficientnet.ALIASES),
    "efficientnetv2": Family(efficientnetv2.VARIANTS, efficientnetv2.ALIASES),
    "convnext": Family(convnext.VARIANTS, convnext.ALIASES),
    "convnextv2": Family(convnextv2.VARIANTS, convnextv2.ALIASES),
}

NETWORKS: Mapping[type[NetworkConfig], type[Classifier]] = {
    lenet.LeNet5Config: lenet.LeNet5,
    lenet.LeNetConfig: lenet.LeNet,
    alexnet.AlexNetConfig: alexnet.AlexNet,
    zfnet.ZFNetConfig: zfnet.ZFNet,
    nin.NiNConfig: nin.NiN,
    vgg.VGGConfig: vgg.VGG,
    googlenet.GoogLeNetConfig: googlenet.GoogLeNet,
    bninception.BNInceptionConfig: bninception.BNInception,
    inceptionv3.InceptionV3Config: inceptionv3.InceptionV3,
    inceptionv4.InceptionV4Config: inceptionv4.InceptionV4,
    inception_resnet.InceptionResNetConfig: inception_resnet.InceptionResNet,
    resnet.ResNetConfig: resnet.ResNet,
    preact.PreActConfig: preact.PreActResNet,
    densenet.DenseNetConfig: densenet.DenseNet,
    mobilenetv1.MobileNetV1Config: mobilenetv1.MobileNetV1,
    mobilenetv2.MobileNetV2Config: mobilenetv2.MobileNetV2,
    mobilenetv3.MobileNetV3Config: mobilenetv3.MobileNetV3,
    nasnet.NASNetConfig: nasnet.NASNet,
    amoebanet.AmoebaNetConfig: amoebanet.AmoebaNet,
    enas.ENASConfig: enas.ENAS,
    efficientnet.EfficientNetConfig: efficientnet.EfficientNet,
    efficientnetv2.EfficientNetV2Config: efficientnetv2.EfficientNetV2,
    convnext.ConvNeXtConfig: convnext.ConvNeXt,
    convnextv2.ConvNeXtV2Config: convnextv2.ConvNeXtV2,
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
    """The row that is this network's form for images of 28 pixels ("vgg16_bn" -> "vgg16_small"), or None.

    It is called as the network is, or as the start of its name, and then _small.
    """
    words = canonical_name(name).split("_")
    for end in range(len(words), 0, -1):
        small = "_".join([*words[:end], "small"])
        if small in VARIANTS and VARIANTS[small].accepts(28):
            return small
    return None
