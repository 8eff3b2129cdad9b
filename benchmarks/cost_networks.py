"""The twenty networks that the benchmarks of `lenext cost` run on: every kind of layer, the deepest, the largest."""

from lenext.costs.meta import without_data as building_without_data
from lenext.models.catalog import build, get_config
from lenext.models.classifier import Classifier

NETWORKS = [
    "lenet5_relu", "alexnet", "vgg16", "nin_imagenet", "googlenet", "inception_v3", "resnet18", "resnet50",
    "resnet1202", "wrn_28_10", "resnext50_32x4d", "densenet121", "seresnet50", "mobilenetv2_100",
    "mobilenetv3_large_100", "nasnet_a_mobile", "efficientnet_b0", "convnext_tiny", "convnextv2_tiny",
    "convnextv2_huge",
]  # fmt: skip


def image_of(name: str) -> tuple[int, int, int]:
    config = get_config(name)
    return config.in_channels, config.input_size, config.input_size


def without_data(name: str) -> Classifier:
    with building_without_data():
        return build(name)
