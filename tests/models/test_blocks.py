"""The blocks that networks are made of (docs/blocks.md): finite differences, and the operations' definitions."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lenext.models import convnext, resnet
from lenext.models.convnextv2 import GlobalResponseNorm
from lenext.models.definitions import BatchNorm, cross_correlation
from lenext.models.googlenet import GoogLeNetConfig, four_branches
from lenext.models.inception import InceptionConfig, wide
from lenext.models.parts import DropPath, LocalResponseNorm, SqueezeExcite
from lenext.models.preact import PreActConfig, PreActUnit
from lenext.models.resnet import ResNetConfig

# fmt: off
BLOCKS: dict[str, Callable[[], nn.Module]] = {  # each over 4 channels
    "residual, identity":         lambda: resnet.BasicBlock(4, 4, 1, ResNetConfig()),
    "residual, option A":         lambda: resnet.BasicBlock(4, 6, 2, ResNetConfig(shortcut="A")),
    "residual, projection":       lambda: resnet.BasicBlock(4, 6, 2, ResNetConfig()),
    "bottleneck":                 lambda: resnet.Bottleneck(4, 1, 1, ResNetConfig(block="bottleneck")),
    "bottleneck, projection":     lambda: resnet.Bottleneck(4, 2, 2, ResNetConfig(block="bottleneck")),
    "bottleneck, squeezed":       lambda: resnet.Bottleneck(4, 1, 1, ResNetConfig(block="bottleneck", squeeze=2)),
    "pre-activation":             lambda: PreActUnit(4, 4, 1, PreActConfig(), activated=False),
    "pre-activation, projection": lambda: PreActUnit(4, 6, 2, PreActConfig(shortcut="B"), activated=False),
    "pre-activation bottleneck":  lambda: PreActUnit(4, 1, 1, PreActConfig(block="bottleneck"), activated=False),
    "inception":                  lambda: four_branches(4, (2, 1, 3, 1, 2, 2), GoogLeNetConfig(norm="none")),
    "inception, normalised":      lambda: four_branches(4, (2, 1, 3, 1, 2, 2), GoogLeNetConfig(norm="batch", branch=3)),
    "inception of v3":            lambda: wide(16).make(4, InceptionConfig())[0],
    "squeeze and excitation":     lambda: SqueezeExcite(4, 2),
    "response norm":              lambda: LocalResponseNorm(3, alpha=0.5),
    "global response norm":       lambda: GlobalResponseNorm(4),
    "ConvNeXt V2":                lambda: convnext.Block(4, 0.0, response=GlobalResponseNorm(16)),
    "drop path":                  lambda: DropPath(0.5),
}
# fmt: on


def ready(make: Callable[[], nn.Module]) -> nn.Module:
    """The block in training and in float64, every parameter drawn, so that no scale is 0 or 1."""
    torch.manual_seed(1)
    block = make().double().train()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    return block


@pytest.mark.parametrize("name", BLOCKS)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    block = ready(BLOCKS[name])
    names = list(dict(block.named_parameters()))

    def run(x: Tensor, *values: Tensor) -> Tensor:
        torch.manual_seed(2)  # which image's path is dropped
        y: Tensor = torch.func.functional_call(block, dict(zip(names, values, strict=True)), (x,))
        return y

    x = torch.randn(2, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    large = sum(parameter.numel() for parameter in block.parameters()) > 60  # a random projection is seconds less
    assert torch.autograd.gradcheck(run, (x, *block.parameters()), fast_mode=large)


def test_pre_activation_bottleneck_is_its_definition_in_training() -> None:
    """x + W3 r(W2 r(W1 r(x))) of the operations from their formulas; r normalises by the batch, then cuts at zero."""
    unit = ready(lambda: PreActUnit(8, 2, 1, PreActConfig(block="bottleneck"), activated=False))
    x = torch.randn(3, 8, 5, 4, dtype=torch.float64)

    def activated(place: str, values: Tensor) -> Tensor:
        norm = BatchNorm(values.shape[1]).double()
        norm.gamma, norm.beta = unit.get_parameter(f"{place}.bn.weight"), unit.get_parameter(f"{place}.bn.bias")
        y: Tensor = norm(values)
        return y.clamp(min=0)

    y = cross_correlation(activated("preact", x), unit.get_parameter("branch.conv1.weight"))
    y = cross_correlation(activated("branch.act2", y), unit.get_parameter("branch.conv2.weight"), padding=1)
    y = cross_correlation(activated("branch.act3", y), unit.get_parameter("branch.conv3.weight"))
    torch.testing.assert_close(unit(x), x + y, rtol=1e-10, atol=1e-10)
