"""Operations from their definitions, to be read beside the book and to check others by; the networks use torch's.

Convolution and cross-correlation of one, two or three axes, the locally connected layer, batch normalisation, response
normalisation within channels. Clarity before speed; every step is differentiable. Equations 9.x are those of Goodfellow
et al. 2016, "Deep Learning", chapter 9. docs/blocks.md tells where the other blocks of the courses are.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenext.errors import UsageError


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Pixels that a convolution gives along an axis of `size` pixels (Dumoulin & Visin 2016, relationship 15).

    floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1. A kernel that does not fit is a UsageError.
    """
    reach = dilation * (kernel - 1) + 1  # pixels from the first that the kernel reads to the last
    if size + 2 * padding < reach:
        raise UsageError(
            f"cannot convolve {size} pixels with a kernel of {kernel}",
            why=f"with padding {padding} there are {size + 2 * padding} pixels, and the kernel reaches over {reach}",
            advice=f"padding of {math.ceil((reach - size) / 2)} or more, or a smaller kernel",
        )
    return (size + 2 * padding - reach) // stride + 1


def cross_correlation(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """What networks call convolution: the kernel is laid on as it is (equations 9.6 and 9.7, 9.8 with a stride).

        y[n, o, i] = bias[o] + sum over c, u of x[n, c, stride i + dilation u - padding] weight[o, c, u]

    i and u are places of one, two or three axes; x is zero outside. x: (N, C, ...). weight: (O, C / groups, ...), an
    output reading the channels of its own group. bias: (O,). stride, padding, dilation: for all axes or for each.
    Returns (N, O, ...), each axis as `output_size` tells. Shapes that do not fit are a UsageError.
    """
    _check_channels(x, weight, groups)
    axes = weight.ndim - 2
    stride, padding, dilation = (_for_each(axis, axes) for axis in (stride, padding, dilation))
    numbers = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    sizes = [output_size(*of_axis) for of_axis in numbers]
    inputs = _pad(x, padding).unflatten(1, (groups, -1))  # (N, groups, C / groups, ...)
    filters = weight.unflatten(0, (groups, -1))  # (groups, O / groups, C / groups, ...)
    y = x.new_zeros(())
    for place in itertools.product(*(range(kernel) for kernel in weight.shape[2:])):  # u
        along = zip(place, dilation, stride, sizes, strict=True)
        seen = [slice(d * u, d * u + s * (n - 1) + 1, s) for u, d, s, n in along]  # n pixels: stride i + dilation u
        y = y + torch.einsum("ngc...,goc->ngo...", inputs[(..., *seen)], filters[(..., *place)])
    y = y.flatten(1, 2)  # (N, O, ...)
    return y if bias is None else y + bias.view(-1, *(1,) * axes)


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution as mathematics has it: the kernel is flipped along every axis (equations 9.3 and 9.4).

        y[n, o, i] = bias[o] + sum over c, u of x[n, c, stride i + dilation (K - 1 - u) - padding] weight[o, c, u]

    K is the kernel's size; with padding K - 1 and stride 1 this is the textbook's sum of x[i - u] w[u]. Flipped, it
    commutes (equation 9.5), and is the gradient of `cross_correlation` by its input. Shapes and errors are the same.
    """
    flipped = weight.flip(tuple(range(2, weight.ndim)))
    return cross_correlation(x, flipped, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


def locally_connected(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: int = 1, padding: int = 0
) -> Tensor:
    """A convolution whose kernel is another one at every place (unshared convolution, equation 9.9).

        y[n, o, i, j] = bias[o, i, j] + sum over c, u, v of
                        x[n, c, stride i + u - padding, stride j + v - padding] weight[o, i, j, c, u, v]

    x: (N, C, H, W). weight: (O, H', W', C, KH, KW). bias: (O, H', W'). Returns (N, O, H', W'), H' and W' as
    `output_size` tells; a weight made for another size is a UsageError.
    """
    kernel = weight.shape[4:]
    made = tuple(output_size(*numbers, stride, padding) for numbers in zip(x.shape[2:], kernel, strict=True))
    if (x.shape[1], *made) != (weight.shape[3], *weight.shape[1:3]):
        raise UsageError(
            f"cannot connect an image of {tuple(x.shape[1:])} locally",
            why=f"it needs kernels for {x.shape[1]} channels at {made} places, the weight is {tuple(weight.shape)}",
            advice="images of the size that the layer was made for",
        )
    windows = _pad(x, (padding, padding)).unfold(2, kernel[0], stride).unfold(3, kernel[1], stride)
    y = torch.einsum("ncijuv,oijcuv->noij", windows, weight)  # windows: (N, C, H', W', KH, KW)
    return y if bias is None else y + bias


class LocallyConnected(nn.Module):
    """`locally_connected` as a layer, for images of one size (H, W).

    Weights and biases begin uniform within 1 / sqrt(inputs of a kernel), as those of torch's convolutions.
    """

    def __init__(
        self, channels: int, width: int, size: tuple[int, int], kernel: int, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        places = tuple(output_size(side, kernel, stride, padding) for side in size)
        bound = 1 / math.sqrt(channels * kernel * kernel)
        self.weight = nn.Parameter(torch.empty(width, *places, channels, kernel, kernel).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(width, *places).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, width, H', W')."""
        return locally_connected(x, self.weight, self.bias, stride=self.stride, padding=self.padding)


def batch_norm(x: Tensor, mean: Tensor, variance: Tensor, gamma: Tensor, beta: Tensor, eps: float = 1e-5) -> Tensor:
    """Normalise, scale and shift each channel (Ioffe & Szegedy 2015, Algorithm 1, last two lines).

        y = gamma (x - mean) / sqrt(variance + eps) + beta

    x: (N, C) or (N, C, ...). The others: (C,). Returns x's shape.
    """
    mean, variance, gamma, beta = (v.view(-1, *(1,) * (x.ndim - 2)) for v in (mean, variance, gamma, beta))
    return gamma * (x - mean) / (variance + eps).sqrt() + beta


class BatchNorm(nn.Module):
    """`batch_norm` by the batch's mean and variance in training, by running ones in evaluation (Algorithms 1 and 2).

    The batch's variance divides by its m values a channel, the running one by m - 1 (Algorithm 2, line 10). Where the
    paper averages over many batches after training, running = (1 - momentum) running + momentum batch, as in torch.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, ...) -> (N, channels, ...); training on one value a channel is a UsageError."""
        if not self.training:
            return batch_norm(x, self.running_mean, self.running_var, self.gamma, self.beta, self.eps)
        values = x.transpose(0, 1).flatten(1)  # (channels, m)
        m = values.shape[1]
        if m < 2:
            raise UsageError(
                "cannot normalise this batch", why="a channel has one value: no variance", advice="two images or more"
            )
        mean = values.mean(1)
        variance = (values - mean[:, None]).square().mean(1)
        with torch.no_grad():
            self.running_mean += self.momentum * (mean - self.running_mean)
            self.running_var += self.momentum * (variance * m / (m - 1) - self.running_var)
        return batch_norm(x, mean, variance, self.gamma, self.beta, self.eps)


def response_norm_within_channels(x: Tensor, size: int, alpha: float, beta: float, k: float = 1.0) -> Tensor:
    """Divide each value by the energy around it in its own channel (Caffe's LRN, WITHIN_CHANNEL; k is 1 there).

        y[n, c, i] = x[n, c, i] / (k + alpha / size^2 * sum over the size x size places j around i of x[n, c, j]^2)^beta

    x: (N, C, H, W), zero outside. Unlike `parts.local_response_norm`, which sums over channels after Krizhevsky et al.
    2012, `alpha` multiplies the mean of the squares. Returns (N, C, H, W). An even size, which has no middle, is a
    UsageError.
    """
    if size % 2 == 0:
        raise UsageError(f"cannot sum over {size} x {size} pixels around one", why="it is even", advice=f"{size + 1}")
    channels = x.shape[1]
    ones = x.new_ones(channels, 1, size, size)
    energy = cross_correlation(x.square(), ones, padding=size // 2, groups=channels)
    return x / (k + alpha / size**2 * energy) ** beta


def _for_each(value: int | Sequence[int], axes: int) -> Sequence[int]:
    return (value,) * axes if isinstance(value, int) else value


def _pad(x: Tensor, padding: Sequence[int]) -> Tensor:
    """Zeros on both sides of each axis; F.pad begins with the last."""
    return F.pad(x, [pixels for pixels in reversed(padding) for _ in range(2)])


def _check_channels(x: Tensor, weight: Tensor, groups: int) -> None:
    if x.ndim != weight.ndim or x.shape[1] != groups * weight.shape[1] or len(weight) % groups:
        raise UsageError(
            f"cannot convolve {tuple(x.shape)} with kernels of {tuple(weight.shape)}",
            why=f"in groups of {groups} the kernels are (outputs, channels / {groups}, and the axes of the image)",
            advice="another weight, or other groups",
        )
