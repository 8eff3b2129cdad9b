"""Building blocks that more than one family uses."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "silu": nn.SiLU,  # swish in the papers of EfficientNet
    "hard_swish": nn.Hardswish,
    "hard_sigmoid": nn.Hardsigmoid,
    "none": nn.Identity,
}


def named_chain(layers: Iterable[tuple[str, nn.Module]]) -> nn.Sequential:
    """A sequence whose layers are called by their names instead of numbers."""
    return nn.Sequential(OrderedDict(layers))


def local_response_norm(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    """Divide each channel by the energy of its neighbours (Krizhevsky et al. 2012, section 3.3).

    x: (N, C, H, W). The sum runs over `size` channels at the same place; `alpha` multiplies the sum itself, as
    in the paper, and not its mean, as in torch and Caffe. Returns (N, C, H, W).
    """
    # F.local_response_norm in the same steps, but it writes the batch's size down, which then is a constant of ONNX
    padded = F.pad((x * x).unsqueeze(1), (0, 0, 0, 0, size // 2, (size - 1) // 2))
    mean = F.avg_pool3d(padded, (size, 1, 1), stride=1).squeeze(1)
    return x / (alpha * size * mean + k).pow(beta)


class LocalResponseNorm(nn.Module):
    """`local_response_norm` as a layer, with AlexNet's constants unless told otherwise."""

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """The four constants."""
        return f"size={self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def pad_shortcut(x: Tensor, channels: int, stride: int) -> Tensor:
    """The shortcut without parameters, option A of He et al. 2015, section 3.3.

    x: (N, C, H, W). Every `stride`-th pixel is kept and zero channels are appended behind the C, as in the
    authors' Torch release; some ports put half of the zeros in front. Returns (N, channels, H/stride, W/stride).
    """
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, channels - x.shape[1]))


class PadShortcut(nn.Module):
    """`pad_shortcut` as a layer."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, channels, H/stride, W/stride)."""
        return pad_shortcut(x, self.channels, self.stride)

    def extra_repr(self) -> str:
        """Channels and stride."""
        return f"channels={self.channels}, stride={self.stride}"


def pooled_linear(features: int, num_classes: int, dropout: float = 0.0) -> nn.Sequential:
    """Global average pooling, dropout where there is any, one linear layer: (N, features, H, W) -> (N, num_classes)."""
    layers: list[tuple[str, nn.Module]] = [("pool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten())]
    if dropout:
        layers.append(("dropout", nn.Dropout(dropout)))
    return named_chain([*layers, ("fc", nn.Linear(features, num_classes))])


def fc_head(channels: int, side: int, num_classes: int, dropout: float) -> nn.Sequential:
    """fc6 and fc7 with dropout, and fc8, on a map of `side` pixels: (N, channels, H, W) -> (N, num_classes)."""
    return named_chain(
        [
            ("pool", nn.AdaptiveAvgPool2d(side)),
            ("flatten", nn.Flatten()),
            ("fc6", nn.Linear(channels * side * side, 4096)),
            ("relu6", nn.ReLU()),
            ("drop6", nn.Dropout(dropout)),
            ("fc7", nn.Linear(4096, 4096)),
            ("relu7", nn.ReLU()),
            ("drop7", nn.Dropout(dropout)),
            ("fc8", nn.Linear(4096, num_classes)),
        ]
    )


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate that all of them decide on (Hu et al. 2017, equations 2 to 4).

    The two fully connected layers are 1x1 convolutions on the pooled map, which is the same function.
    """

    def __init__(self, channels: int, squeezed: int, activation: str = "relu", gate: str = "sigmoid") -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.act = ACTIVATIONS[activation]()
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.gate = ACTIVATIONS[gate]()

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, channels, H, W)."""
        y: Tensor = self.fc2(self.act(self.fc1(x.mean((2, 3), keepdim=True))))
        gate: Tensor = self.gate(y)
        return x * gate


class DropPath(nn.Module):
    """Drop a residual branch while training (Huang et al. 2016, arXiv 1603.09382), of single images or of a batch.

    The branch is dropped with probability `rate` and else divided by 1 - rate, so that evaluation changes nothing; the
    paper multiplies by 1 - rate when evaluating instead: both are the same in expectation. per "image", as later code
    has it, each image draws. per "batch", the paper's way, whoever owns the branch asks `drops_batch` before computing
    it, and brings only a kept one here. `share` of the rate counts: 1, or what `lenext.training.dropping` raises to 1
    over the run.
    """

    def __init__(self, rate: float, per: Literal["image", "batch"] = "image") -> None:
        super().__init__()
        self.rate, self.per = rate, per
        self.share = 1.0
        self.generator: torch.Generator | None = None  # of draws for a batch: torch's own, or one that ranks have alike

    def drops_batch(self) -> bool:
        """Draw whether this batch goes without its branch; never so when evaluating, nor where images draw."""
        if not (self.training and self.per == "batch"):
            return False
        drawn = torch.rand((), device="cpu", generator=self.generator)  # there, so that no accelerator is waited for
        return bool(drawn < self.rate * self.share)

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> (N, ...)."""
        rate = self.rate * self.share
        if not (self.training and rate):
            return x
        if self.per == "batch":
            return x / (1 - rate)
        kept = torch.rand((len(x), *(1,) * (x.ndim - 1)), device=x.device) >= rate  # in float32, whatever x has
        return x * kept / (1 - rate)

    def extra_repr(self) -> str:
        """The rate, and what draws."""
        return f"rate={self.rate}, per={self.per}"


def linear_rates(last: float, blocks: int) -> list[float]:
    """Drop rates of a network's blocks, rising linearly from 0 to `last`, as the release of ConvNeXt has it.

    Huang et al. 2016, equation 4, begin at last / blocks, the 0 being the input's: resnet.py and NASNet's release do.
    EfficientNet's ends a step short.
    """
    return [last * i / max(blocks - 1, 1) for i in range(blocks)]


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel: (N, C, H, W) -> (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise in channels-last order and turn back."""
        y = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return y.permute(0, 3, 1, 2)


class Branches(nn.Module):
    """Named branches over one input, whose outputs stand behind each other in the channels (Szegedy et al. 2014)."""

    def __init__(self, branches: Iterable[tuple[str, nn.Module]]) -> None:
        super().__init__()
        for name, branch in branches:
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, the sum of the branches' channels, and the size that they all give)."""
        return torch.cat([branch(x) for branch in self.children()], dim=1)
