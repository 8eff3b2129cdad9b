"""ConvNeXt (Liu et al. 2022, "A ConvNet for the 2020s", arXiv 2201.03545).

Table 9: a stem of 4x4 patches, then res2 to res5, each a chain of blocks (Figure 4): 7x7 depthwise convolution, layer
normalisation, 1x1 convolution to four times the width, GELU, 1x1 convolution back, a learned scale of each channel that
begins at 1e-6, and the shortcut. Between stages a normalisation and a 2x2 convolution of stride 2; they belong to the
stage that they open. Drop path rises linearly from the first block to the last.

Where popular code departs from the paper:
  layout        the authors and torchvision turn the maps to channels-last and apply linear layers; here they are 1x1
                convolutions: the same function, on a CPU as fast, and a fifth faster where images are not channels-last
  drop path     the rates are those for ImageNet-1K (Table 5); xlarge was only trained from ImageNet-22K on: 0.2
  accuracy      torchvision's weights come from its own recipe of 600 epochs (82.52 against the paper's 82.1 for tiny)
  convnext_atto timm's, with the widths and depths of V2's smallest; for it drop path is 0, as for that one
  *_small       not in the paper: the widths and depths of the row with patches of 2x2, so that 32x32 images end in a
                map of 2x2, for two thirds of the arithmetic of resnet18_small; patches of one pixel would cost four
                times as much

The ImageNet rows start at 64 pixels, below which the last map is one pixel and the small row is the better network.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.parts import DropPath, LayerNorm2d, linear_rates, named_chain

EPS = 1e-6  # of every layer normalisation
LAYER_SCALE = 1e-6  # where the scales begin


@dataclass(frozen=True, kw_only=True)
class ConvNeXtConfig(NetworkConfig):
    """One column of Table 9: stage i has `repeats[i]` blocks of `width * 2**i` channels."""

    min_size: int = 64
    repeats: tuple[int, ...] = (3, 3, 9, 3)
    width: int = 96
    patch: int = 4  # side of the stem's patches, in pixels
    drop_path: float = 0.1  # of the last block


# fmt: off
VARIANTS = {
    #                                repeats                width       drop_path
    "convnext_tiny":   ConvNeXtConfig(repeats=(3, 3, 9, 3),  width=96,  drop_path=0.1),
    "convnext_small":  ConvNeXtConfig(repeats=(3, 3, 27, 3), width=96,  drop_path=0.4),
    "convnext_base":   ConvNeXtConfig(repeats=(3, 3, 27, 3), width=128, drop_path=0.5),
    "convnext_large":  ConvNeXtConfig(repeats=(3, 3, 27, 3), width=192, drop_path=0.5),
    "convnext_xlarge": ConvNeXtConfig(repeats=(3, 3, 27, 3), width=256, drop_path=0.2),
    # Not in the paper
    "convnext_atto":   ConvNeXtConfig(repeats=(2, 2, 6, 2),  width=40,  drop_path=0.0),
    "convnext_atto_small":
        ConvNeXtConfig(repeats=(2, 2, 6, 2), width=40, drop_path=0.0, patch=2,
                       num_classes=10, input_size=32, min_size=16),
    "convnext_tiny_small":
        ConvNeXtConfig(repeats=(3, 3, 9, 3), width=96, patch=2, num_classes=10, input_size=32, min_size=16),
}
# fmt: on

ALIASES = {
    "convnext_t": "convnext_tiny",
    "convnext_s": "convnext_small",
    "convnext_b": "convnext_base",
    "convnext_l": "convnext_large",
    "convnext_xl": "convnext_xlarge",
}


class LayerScale(nn.Module):
    """A learned factor of each channel, which begins near zero, so that a deep network begins near the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels, 1, 1), LAYER_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return self.gamma * x

    def first_values(self) -> dict[str, float]:
        """Where the scales begin."""
        return {"gamma": LAYER_SCALE}


class Block(nn.Module):
    """Figure 4's block; `response` normalises the wide map in V2, `scale` ends the branch in V1."""

    def __init__(
        self, channels: int, drop_path: float, *, scale: nn.Module | None = None, response: nn.Module | None = None
    ) -> None:
        super().__init__()
        layers = {
            "dwconv": nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            "norm": LayerNorm2d(channels, eps=EPS),
            "pwconv1": nn.Conv2d(channels, 4 * channels, 1),  # (N, 4C, H, W)
            "act": nn.GELU(),
            "grn": response,
            "pwconv2": nn.Conv2d(4 * channels, channels, 1),  # (N, C, H, W)
            "scale": scale,
            "drop_path": DropPath(drop_path) if drop_path else None,
        }
        self.branch = named_chain((name, layer) for name, layer in layers.items() if layer is not None)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        y: Tensor = self.branch(x)
        return x + y

    def forward_visible(self, x: Tensor, visible: Tensor) -> Tensor:
        """The block where `visible`, (N, 1, H, W), is 1, of an x that is zero elsewhere; elsewhere it means nothing.

        As sparse convolutions compute it (Woo et al. 2023, section 3.1); the paths of pre-training are not dropped.
        """
        y = x
        for name, layer in self.branch.named_children():
            if name != "drop_path":
                y = layer(y * visible if name == "grn" else y)  # a norm over the map sums visible places alone
        return x + y


class ConvNeXt(Classifier):
    """Table 9's network: `stem` cuts the image into patches, the stages are res2 to res5."""

    config: ConvNeXtConfig

    def __init__(self, config: ConvNeXtConfig) -> None:
        super().__init__(config)
        channels, patch = config.width, config.patch
        # comments: shapes of convnext_tiny at 224
        self.stem = named_chain(
            [
                ("conv", nn.Conv2d(config.in_channels, channels, patch, patch)),
                ("norm", LayerNorm2d(channels, eps=EPS)),
            ]
        )  # (N, 96, 56, 56)
        rates = iter(linear_rates(config.drop_path, sum(config.repeats)))
        stages = []
        for i, repeats in enumerate(config.repeats):
            width, stage = config.width * 2**i, nn.Sequential()
            if i > 0:
                stage.add_module("norm", LayerNorm2d(channels, eps=EPS))
                stage.add_module("conv", nn.Conv2d(channels, width, 2, 2))
            for j in range(repeats):
                stage.add_module(str(j), self.make_block(width, next(rates)))
            channels = width
            stages.append((f"res{i + 2}", stage))
        self.stages = named_chain(stages)  # (N, 96, 56, 56), (N, 192, 28, 28), (N, 384, 14, 14), (N, 768, 7, 7)
        self.head = named_chain(
            [
                ("pool", nn.AdaptiveAvgPool2d(1)),
                ("flatten", nn.Flatten()),
                ("norm", nn.LayerNorm(channels, eps=EPS)),
                ("fc", nn.Linear(channels, config.num_classes)),
            ]
        )  # (N, num_classes)

    def make_block(self, channels: int, drop_path: float) -> Block:
        """One block of a stage."""
        return Block(channels, drop_path, scale=LayerScale(channels))
