"""Convolutions as networks since 2015 use them: padded by either rule, normalised, activated; the inverted residual."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from lenext.models.parts import ACTIVATIONS, DropPath, named_chain


@dataclass(frozen=True, kw_only=True)
class ConvStyle:
    """How the convolutions of a network are padded, normalised and activated.

    padding: "symmetric" puts half of the kernel on each side; "same" is TensorFlow's rule, by which a stride of 2 on
    an even map pads right and bottom only; "valid" pads nothing. eps, momentum: of batch normalisation, as in torch.
    """

    padding: Literal["symmetric", "same", "valid"] = "symmetric"
    activation: Literal["relu", "relu6", "silu", "hard_swish"] = "relu"
    eps: float = 1e-5
    momentum: float = 0.1


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's SAME: pixels (before, after) one side, so that the output has ceil(size / stride) pixels."""
    total = max(dilation * (kernel - 1) - (size - 1) % stride, 0)  # short, since a compiler may carry it as a symbol
    return total // 2, total - total // 2


def pad_same(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad (N, C, H, W) by `same_padding`; an odd rest goes to the right and to the bottom."""
    rows, columns = same_padding(x.shape[2], kernel, stride), same_padding(x.shape[3], kernel, stride)
    return F.pad(x, (*columns, *rows), value=value) if any((*columns, *rows)) else x


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding, which depends on the size of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, ceil(H/stride), ceil(W/stride))."""
        rows = same_padding(x.shape[2], self.kernel_size[0], self.stride[0], self.dilation[0])
        columns = same_padding(x.shape[3], self.kernel_size[1], self.stride[1], self.dilation[1])
        padded = F.pad(x, (*columns, *rows)) if any((*columns, *rows)) else x
        y: Tensor = self._conv_forward(padded, self.weight, self.bias)
        return y


def make_conv(  # the seven numbers of a convolution, and its rule of padding
    channels: int,
    width: int,
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    *,
    groups: int = 1,
    dilation: int = 1,
    bias: bool = False,
    padding: str,
) -> nn.Conv2d:
    """A convolution that keeps the size up to its stride unless it is "valid", by the rules of padding of `ConvStyle`.

    Stride 1 pads alike in "symmetric" and "same", so that only strided convolutions pay for SAME.
    """
    if padding == "same" and stride not in (1, (1, 1)):
        return SameConv2d(channels, width, kernel, stride, dilation=dilation, groups=groups, bias=bias)
    height, breadth = (kernel, kernel) if isinstance(kernel, int) else kernel
    around = (0, 0) if padding == "valid" else (height // 2 * dilation, breadth // 2 * dilation)
    return nn.Conv2d(channels, width, kernel, stride, around, dilation, groups, bias)


def conv_norm(  # the numbers of a convolution, and one style
    channels: int,
    width: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    *,
    groups: int = 1,
    style: ConvStyle,
    activation: str | None = None,
) -> nn.Sequential:
    """Convolution, batch normalisation and activation (the style's unless told otherwise) as conv, bn, act.

    (N, channels, H, W) -> (N, width, ceil(H/stride), ceil(W/stride)), less where nothing is padded. activation "none"
    leaves act away.
    """
    layers: list[tuple[str, nn.Module]] = [
        ("conv", make_conv(channels, width, kernel, stride, groups=groups, padding=style.padding)),
        ("bn", nn.BatchNorm2d(width, style.eps, style.momentum)),
    ]
    activation = activation or style.activation
    if activation != "none":
        layers.append(("act", ACTIVATIONS[activation]()))
    return named_chain(layers)


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round channels to a multiple of `divisor`, never more than a tenth down (TensorFlow Slim's MobileNets)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def skip_strides(strides: Sequence[int], skipped: int) -> list[int]:
    """The strides with the first `skipped` that are not 1 made 1, which keeps the maps of small images large."""
    places = [i for i, stride in enumerate(strides) if stride > 1][:skipped]
    return [1 if i in places else stride for i, stride in enumerate(strides)]


class Residual(nn.Module):
    """`layers`, and where the shape stays a shortcut around them: a branch that may be dropped.

    residual: whether the shape stays. drop_path: the rate for whole images while training.
    """

    def __init__(self, layers: Sequence[tuple[str, nn.Module]], *, residual: bool, drop_path: float) -> None:
        super().__init__()
        dropping = [("drop_path", DropPath(drop_path))] if residual and drop_path else []
        self.residual = residual
        self.layers = named_chain([*layers, *dropping])

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, width, ceil(H/stride), ceil(W/stride)) by the layers' width and stride."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class InvertedResidual(Residual):
    """Expand by 1x1, filter by depthwise, gate, project by 1x1; a shortcut where the shape stays.

    Sandler et al. 2018, figure 3 (arXiv 1801.04381); with a gate of `squeezed` channels Howard et al. 2019, figure 4.
    expanded == channels leaves the first convolution away. The projection is linear.
    """

    def __init__(  # the columns of MobileNetV3's table
        self,
        channels: int,
        width: int,
        expanded: int,
        kernel: int,
        stride: int,
        *,
        style: ConvStyle,
        squeeze: nn.Module | None = None,
        drop_path: float = 0.0,
    ) -> None:
        layers: list[tuple[str, nn.Module]] = []
        if expanded != channels:
            layers.append(("expand", conv_norm(channels, expanded, 1, style=style)))
        layers.append(("depthwise", conv_norm(expanded, expanded, kernel, stride, groups=expanded, style=style)))
        if squeeze is not None:
            layers.append(("squeeze", squeeze))
        layers.append(("project", conv_norm(expanded, width, 1, style=style, activation="none")))
        super().__init__(layers, residual=stride == 1 and channels == width, drop_path=drop_path)
