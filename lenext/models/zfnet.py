"""ZFNet (Zeiler & Fergus 2013, "Visualizing and Understanding Convolutional Networks", arXiv 1311.2901).

Figure 3: AlexNet in one column, with 7x7 and a stride of 2 in the first convolution where that has 11x11 and 4, and a
stride of 2 in the second. Behind the ReLUs of conv1, conv2 and conv5 stand 3x3 max pools with stride 2, behind the
first two of these contrast normalisation "across feature maps". The head is AlexNet's. The paper's Table 2 has two:
zfnet_a is Figure 3, zfnet_b has 512, 1024 and 512 maps in conv3 to conv5.

Figure 3 prints map sizes and no padding: 224, 110, 55, 26, 13, 13, 13, 13, 6. 7x7 with stride 2 leaves 109 of 224
unpadded pixels and 110 where they are padded by 1. Unpadded pools that round up then leave 55 and 13, and 26 follows
from 55 without padding. cuda-convnet gives the same sizes without any padding, since its convolutions round up too:
there the zeros are on the right and at the bottom, with a padding of 1 on the left and at the top.

The paper gives the normalisation no constants, but the names of two: AlexNet's, which divides by the energy of
neighbouring channels, and that of Jarrett et al. 2009, which also subtracts a mean over a neighbourhood in the
plane. "Across feature maps" is the former; here it has AlexNet's constants, and the place that the figure shows.

Differences of popular code from the paper:
  padding       conv1 padded by 0, which leaves 109, or by 3 as in the Caffe model "ZF" of Faster R-CNN, which leaves
                112, 56, 28 and 14 with conv2 padded by 2 and pools by 1
  contrast      in front of the pool instead of behind it; within a map (ZF), by batch normalisation, or not at all
  zfnet_small   for 32x32 images, not in the paper: the convolutions of Figure 3 padded by half of their kernels, and
                one linear layer. The pools round up, which lets 28x28 images in (14, 7, 4, 2, 1).

Other sizes: the last map is averaged to 6x6 for fc6, which is the identity at 224.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from lenext.errors import UsageError
from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.parts import LocalResponseNorm, fc_head, named_chain, pooled_linear

KERNELS = (7, 5, 3, 3, 3)
STRIDES = (2, 2, 1, 1, 1)


@dataclass(frozen=True, kw_only=True)
class ZFNetConfig(NetworkConfig):
    """Figure 3 with other widths; `padding` is that of conv1 and of conv2."""

    min_size: int = 47  # the last map is then 1x1
    widths: tuple[int, ...] = (96, 256, 384, 384, 256)
    padding: tuple[int, int] = (1, 0)
    head: Literal["fc", "pooled"] = "fc"
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.widths) != len(KERNELS):
            raise UsageError(
                f"cannot build ZFNet with widths = {self.widths}",
                why=f"it has {len(KERNELS)} convolutions",
                advice="one number for each, as in widths=(96, 256, 384, 384, 256)",
            )


# fmt: off
VARIANTS = {
    #                           conv1 conv2 conv3 conv4 conv5
    "zfnet_a":     ZFNetConfig(widths=(96, 256, 384, 384, 256)),
    "zfnet_b":     ZFNetConfig(widths=(96, 256, 512, 1024, 512)),
    # Not in the paper
    "zfnet_small": ZFNetConfig(widths=(96, 256, 384, 384, 256), padding=(3, 2), head="pooled", num_classes=10,
                               input_size=32, min_size=27),
}
# fmt: on

ALIASES = {"zfnet": "zfnet_a", "zfnetb": "zfnet_b"}


class ZFNet(Classifier):
    """Figure 3: conv1 to conv5 with their ReLUs, and pool1, pool2 and pool5; no stem."""

    config: ZFNetConfig

    def __init__(self, config: ZFNetConfig) -> None:
        super().__init__(config)
        self.stem = nn.Identity()
        channels = config.in_channels
        stages: list[tuple[str, nn.Module]] = []
        paddings = (*config.padding, 1, 1, 1)
        for number, width in enumerate(config.widths, start=1):
            kernel, stride, padding = KERNELS[number - 1], STRIDES[number - 1], paddings[number - 1]
            conv = nn.Conv2d(channels, width, kernel, stride, padding)
            stages.append((f"conv{number}", named_chain([("conv", conv), ("relu", nn.ReLU())])))
            if number in (1, 2, 5):
                stages.append((f"pool{number}", max_pool(contrast=number < 5)))
            channels = width
        # (N, 96, 110, 110), (N, 96, 55, 55), (N, 256, 26, 26), (N, 256, 13, 13),
        # (N, 384, 13, 13), (N, 384, 13, 13), (N, 256, 13, 13), (N, 256, 6, 6)
        self.stages = named_chain(stages)
        if config.head == "fc":
            self.head = fc_head(channels, 6, config.num_classes, config.dropout)  # (N, num_classes)
        else:
            self.head = pooled_linear(channels, config.num_classes)


def max_pool(*, contrast: bool) -> nn.Sequential:
    """A pool that rounds up, and the normalisation where there is one: (N, C, H, W) -> (N, C, H/2, W/2)."""
    layers: list[tuple[str, nn.Module]] = [("pool", nn.MaxPool2d(3, 2, ceil_mode=True))]
    if contrast:
        layers.append(("norm", LocalResponseNorm()))
    return named_chain(layers)
