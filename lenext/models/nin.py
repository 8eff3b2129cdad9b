"""Network in Network (Lin et al. 2013, "Network In Network", arXiv 1312.4400).

An MLP convolution (section 3.1) slides a small perceptron over the image: a convolution and 1x1 convolutions, each with
its ReLU (equation 2). Its last one has a map for each class; the average of a map is the class's score (section 3.2),
and no layer is fully connected. Max pools halve the maps, and dropout stands behind all but the last MLP convolution
(section 4.1).

The paper prints neither widths nor kernels. They are those of the authors' release (mavenlin/cuda-convnet, folder NIN),
with its pools of 3x3 and stride 2 that round up, 32, 16, 8 (cut off they would leave 15 and 7), and its dropout of 0.5
behind each pool.

One name, several networks:
  nin_cifar10_paper  as published: equation 2 and the release have a ReLU behind the maps of the scores too. A class
                     whose map is negative everywhere gets no gradient and stays lost, as one in ten often does.
  nin_cifar10        without that ReLU, as nin_cifar100 and nin_mnist are: scores of both signs, and the same parameters
  nin_imagenet       not in the paper: the authors' network in Caffe's model zoo, with AlexNet's kernels and four MLP
                     convolutions, that ReLU, and dropout behind the last pool only
  nin_d2l            Dive into Deep Learning 1.0, section 8.3: nin_imagenet for grey images, with pools that cut off and
                     a last MLP convolution of 10, 10 and 10 channels. The book gives all three the number of classes;
                     here other classes change the third only, so that the rest can be kept.

The second pool is an average in the authors' later Caffe form for CIFAR-10 and in most ports; here it is a maximum, as
in the paper and in the release.

Any size from min_size on: the head averages what it finds.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from lenext.errors import UsageError
from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.parts import named_chain


@dataclass(frozen=True, kw_only=True)
class NiNConfig(NetworkConfig):
    """MLP convolutions: the i-th has a kernel of `kernels[i]`, then 1x1, and `widths[i]` are the channels of all these.

    The scores are no part of `widths`. stride, padding: of the first convolution; the others keep the size. round_up:
    how the pools divide. dropout_on: the outputs of which pools. rectified: a ReLU stands behind the scores' maps.
    """

    min_size: int = 4  # the last map is then 1x1
    kernels: tuple[int, ...]
    widths: tuple[tuple[int, ...], ...]
    stride: int = 1
    padding: int = 2
    round_up: bool = True
    dropout: float = 0.5
    dropout_on: Literal["every pool", "last pool"] = "every pool"
    rectified: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.widths) != len(self.kernels) or not all(self.widths):
            raise UsageError(
                f"cannot build NiN with kernels = {self.kernels} and widths = {self.widths}",
                why="an MLP convolution has a kernel, and a width for each of its layers",
                advice="as many groups of widths as kernels, as in kernels=(5, 3), widths=((192, 160), (192,))",
            )


# fmt: off
CIFAR    = ((192, 160, 96), (192, 192, 192), (192, 192))
MNIST    = (( 96,  64, 48), (128,  96,  48), (128,  96))
IMAGENET = (( 96,  96, 96), (256, 256, 256), (384, 384, 384), (1024, 1024))
D2L      = (( 96,  96, 96), (256, 256, 256), (384, 384, 384), (  10,   10))

VARIANTS = {
    "nin_cifar10":       NiNConfig(kernels=(5, 5, 3), widths=CIFAR, num_classes=10,  input_size=32),
    "nin_cifar10_paper": NiNConfig(kernels=(5, 5, 3), widths=CIFAR, num_classes=10,  input_size=32, rectified=True),
    "nin_cifar100":      NiNConfig(kernels=(5, 5, 3), widths=CIFAR, num_classes=100, input_size=32),
    "nin_mnist":         NiNConfig(kernels=(5, 5, 5), widths=MNIST, num_classes=10,  input_size=28, in_channels=1),
    # Not in the paper
    "nin_imagenet":      NiNConfig(kernels=(11, 5, 3, 3), widths=IMAGENET, stride=4, padding=0, rectified=True,
                                   dropout_on="last pool", input_size=227, min_size=39),
    "nin_d2l":           NiNConfig(kernels=(11, 5, 3, 3), widths=D2L, stride=4, padding=0, rectified=True,
                                   dropout_on="last pool", round_up=False, num_classes=10, in_channels=1,
                                   input_size=224, min_size=67),
}
# fmt: on

ALIASES: dict[str, str] = {}


class NiN(Classifier):
    """Figure 2: mlpconv1, pool1, mlpconv2, pool2, ..., and a head of the last MLP convolution's end and the average."""

    config: NiNConfig

    def __init__(self, config: NiNConfig) -> None:
        super().__init__(config)
        self.stem = nn.Identity()
        channels, last = config.in_channels, len(config.widths)
        stages: list[tuple[str, nn.Module]] = []
        for number, (kernel, widths) in enumerate(zip(config.kernels, config.widths, strict=True), start=1):
            stride, padding = (config.stride, config.padding) if number == 1 else (1, kernel // 2)
            first = nn.Conv2d(channels, widths[0], kernel, stride, padding)
            stages.append((f"mlpconv{number}", mlp_conv(first, widths[1:])))
            channels = widths[-1]
            if number < last:
                dropped = config.dropout_on == "every pool" or number == last - 1
                stages.append((f"pool{number}", max_pool(config, dropped=dropped)))
        # nin_cifar10: (N, 96, 32, 32), (N, 96, 16, 16), (N, 192, 16, 16), (N, 192, 8, 8), (N, 192, 8, 8)
        self.stages = named_chain(stages)
        self.head = named_chain(
            [
                ("scores", nn.Conv2d(channels, config.num_classes, 1)),
                ("relu", nn.ReLU() if config.rectified else nn.Identity()),  # (N, num_classes, 8, 8)
                ("pool", nn.AdaptiveAvgPool2d(1)),
                ("flatten", nn.Flatten()),  # (N, num_classes)
            ]
        )


def mlp_conv(first: nn.Conv2d, widths: tuple[int, ...]) -> nn.Sequential:
    """Section 3.1: a convolution and its perceptron's other layers, 1x1 convolutions to `widths`, each with its ReLU.

    (N, C, H, W) -> (N, the last of the widths, H/stride, W/stride)
    """
    layers: list[tuple[str, nn.Module]] = [("conv", first), ("relu", nn.ReLU())]
    channels = first.out_channels
    for number, width in enumerate(widths, start=1):
        layers += [(f"mlp{number}", nn.Conv2d(channels, width, 1)), (f"relu{number}", nn.ReLU())]
        channels = width
    return named_chain(layers)


def max_pool(config: NiNConfig, *, dropped: bool) -> nn.Sequential:
    """A pool, and dropout where there is any: (N, C, H, W) -> (N, C, H/2, W/2)."""
    layers: list[tuple[str, nn.Module]] = [("pool", nn.MaxPool2d(3, 2, ceil_mode=config.round_up))]
    if dropped:
        layers.append(("drop", nn.Dropout(config.dropout)))
    return named_chain(layers)
