"""Residual networks with full pre-activation (He et al. 2016, "Identity Mappings in Deep Residual Networks").

arXiv 1603.05027, Figure 4(e): batch normalisation and ReLU stand before each convolution, and nothing behind the
addition. The appendix says how a network begins and ends: the first activation right behind conv1, before the first
unit splits into its two paths, and a last one behind the last addition. A projection reads what its unit has activated
and is not normalised; a shortcut without weights, option A too, reads the unit's input itself. Depths and widths are
those of He et al. 2015, Table 1, and for CIFAR of its section 4.2 (6n+2 layers); 164 and 1001 layers are 9n+2, with
bottlenecks.

Where popular code departs from the paper, and which is which:
  resnetv2_18, ...           timm's function: conv1 is not activated before the max pool; the first unit does it behind
                             the pool and not for an identity shortcut, like any other. As many parameters
  preact_resnet200_imagenet  as the appendix says. Its stride of 2 is in the 3x3 convolution, as in timm and in
                             fb.resnet.torch, whose release normalises its projections, gives them the unit's input
                             itself and leaves the first activation away from all units of conv2_x
  preact_resnet164, 1001     stride 2 in the first 1x1 convolution, as in KaimingHe/resnet-1k-layers; many ports have it
                             in the 3x3
  preact_resnet20            the 6n+2 of the 110 layers at n = 3, in no table of the paper
  resnetv2_18_small          a 3x3 stem and no max pool, the usual form for 32x32 images, not in the paper. Popular code
                             (kuangliu/pytorch-cifar) forgets the last activation
  others                     keep a normalisation in the first unit behind that of conv1: 128 parameters more

The table of wrn.py for CIFAR is rows of this network too: its paper makes the units wider and drops out within them.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.parts import PadShortcut, named_chain, pooled_linear


@dataclass(frozen=True, kw_only=True)
class PreActConfig(NetworkConfig):
    """One network: stage i has `repeats[i]` units of `width * 2**i` channels (four times that outside bottlenecks)."""

    min_size: int = 64  # the last map is then 2x2
    block: Literal["basic", "bottleneck"] = "basic"
    repeats: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 64
    shortcut: Literal["A", "B"] = "B"  # zeros or a projection where the shape changes
    stride_in: Literal["1x1", "3x3"] = "3x3"  # which convolution of a bottleneck takes the stride
    stem: Literal["7x7", "3x3"] = "7x7"  # with stride 2 and a max pool, or with neither
    activate_stem: bool = True  # else the first unit activates its own input, behind the max pool
    widen: int = 1  # all units have so many times `width` channels, conv1 has not
    dropout: float = 0.0  # before each convolution of a unit but its first


def _cifar(block: Literal["basic", "bottleneck"], n: int, shortcut: Literal["A", "B"]) -> PreActConfig:
    """6n+2 layers with basic units, 9n+2 with bottlenecks."""
    return PreActConfig(
        block=block,
        repeats=(n, n, n),
        width=16,
        shortcut=shortcut,
        stride_in="1x1",
        stem="3x3",
        num_classes=10,
        input_size=32,
        min_size=8,
    )


# fmt: off
VARIANTS = {
    # timm's                           block               repeats                 conv1 activated      stride 2 in
    "resnetv2_18":       PreActConfig(block="basic",      repeats=(2, 2, 2, 2),  activate_stem=False),
    "resnetv2_34":       PreActConfig(block="basic",      repeats=(3, 4, 6, 3),  activate_stem=False),
    "resnetv2_50":       PreActConfig(block="bottleneck", repeats=(3, 4, 6, 3),  activate_stem=False, stride_in="3x3"),
    "resnetv2_101":      PreActConfig(block="bottleneck", repeats=(3, 4, 23, 3), activate_stem=False, stride_in="3x3"),
    "resnetv2_152":      PreActConfig(block="bottleneck", repeats=(3, 8, 36, 3), activate_stem=False, stride_in="3x3"),
    # Table 5
    "preact_resnet200_imagenet":
                         PreActConfig(block="bottleneck", repeats=(3, 24, 36, 3), activate_stem=True, stride_in="3x3"),
    # Tables 3 and 4                         n
    "preact_resnet110":  _cifar("basic",      18,  "A"),
    "preact_resnet164":  _cifar("bottleneck", 18,  "B"),
    "preact_resnet1001": _cifar("bottleneck", 111, "B"),
    # Not in the paper
    "preact_resnet20":   _cifar("basic", 3, "A"),
    "resnetv2_18_small": PreActConfig(block="basic", repeats=(2, 2, 2, 2), activate_stem=False, stem="3x3",
                                      num_classes=10, input_size=32, min_size=8),
}
# fmt: on

ALIASES = {"preact_resnet200": "preact_resnet200_imagenet"}

EXPANSION = {"basic": 1, "bottleneck": 4}


class PreActUnit(nn.Module):
    """Activation, then two or three convolutions with activations between them, and the shortcut (Figure 4(e)).

    activated: the input comes activated already.
    """

    def __init__(self, channels: int, width: int, stride: int, config: PreActConfig, *, activated: bool) -> None:
        super().__init__()
        if config.block == "basic":
            convs = [(width, 3, stride), (width, 3, 1)]
        else:
            first, second = (stride, 1) if config.stride_in == "1x1" else (1, stride)
            convs = [(width, 1, first), (width, 3, second), (width * EXPANSION["bottleneck"], 1, 1)]
        self.preact = nn.Identity() if activated else activation(channels)
        self.shortcut = make_shortcut(channels, convs[-1][0], stride, config.shortcut)
        branch: list[tuple[str, nn.Module]] = []
        for i, (out_channels, kernel, step) in enumerate(convs, start=1):
            if i > 1:
                branch.append((f"act{i}", activation(channels)))
                if config.dropout:
                    branch.append((f"dropout{i}", nn.Dropout(config.dropout)))
            conv = nn.Conv2d(channels, out_channels, kernel, step, padding=kernel // 2, bias=False)
            branch.append((f"conv{i}", conv))
            channels = out_channels
        self.branch = named_chain(branch)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, width or 4 * width, H/stride, W/stride)."""
        active: Tensor = self.preact(x)
        y: Tensor = self.branch(active)
        shortcut: Tensor = self.shortcut(active if isinstance(self.shortcut, nn.Conv2d) else x)
        return y + shortcut


def activation(channels: int) -> nn.Sequential:
    """Batch normalisation and ReLU: what the paper calls activation."""
    return named_chain([("bn", nn.BatchNorm2d(channels)), ("relu", nn.ReLU())])


def make_shortcut(channels: int, out_channels: int, stride: int, option: str) -> nn.Module:
    """The shortcut of one unit by the options of He et al. 2015, section 3.3."""
    if stride == 1 and channels == out_channels:
        return nn.Identity()
    if option == "A":
        return PadShortcut(out_channels, stride)
    return nn.Conv2d(channels, out_channels, 1, stride, bias=False)


class PreActResNet(Classifier):
    """`stem` is conv1; the stages are conv2_x to conv5_x (conv4_x for CIFAR), the last with the last activation."""

    config: PreActConfig

    def __init__(self, config: PreActConfig) -> None:
        super().__init__(config)
        channels, large = config.width, config.stem == "7x7"
        kernel, stride = (7, 2) if large else (3, 1)
        conv1 = nn.Conv2d(config.in_channels, channels, kernel, stride, padding=kernel // 2, bias=False)
        stem: list[tuple[str, nn.Module]] = [("conv1", conv1)]
        if config.activate_stem:
            stem.append(("act1", activation(channels)))
        # comments: shapes of resnetv2_50 at 224
        self.stem = named_chain(stem)  # (N, 64, 112, 112)
        stages = []
        for i, repeats in enumerate(config.repeats):
            width, stage = config.width * config.widen * 2**i, nn.Sequential()
            if i == 0 and large:
                stage.add_module("pool", nn.MaxPool2d(3, 2, padding=1))  # (N, 64, 56, 56)
            for j in range(repeats):
                stride = 2 if i > 0 and j == 0 else 1
                activated = config.activate_stem and i == j == 0
                stage.add_module(str(j), PreActUnit(channels, width, stride, config, activated=activated))
                channels = width * EXPANSION[config.block]
            stages.append((f"conv{i + 2}_x", stage))
        stage.add_module("act", activation(channels))
        self.stages = named_chain(stages)  # (N, 256, 56, 56), (N, 512, 28, 28), (N, 1024, 14, 14), (N, 2048, 7, 7)
        self.head = pooled_linear(channels, config.num_classes)  # (N, num_classes)
