"""Building blocks that more than one family uses."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS: Mapping[str, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}


def named_chain(layers: Iterable[tuple[str, nn.Module]]) -> nn.Sequential:
    """A sequence whose layers are called by their names instead of numbers."""
    return nn.Sequential(OrderedDict(layers))


def local_response_norm(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    """Divide each channel by the energy of its neighbours (Krizhevsky et al. 2012, section 3.3).

    x: (N, C, H, W). The sum runs over `size` channels at the same place; `alpha` multiplies the sum itself, as
    in the paper, and not its mean, as in torch and Caffe. Returns (N, C, H, W).
    """
    return F.local_response_norm(x, size, alpha=alpha * size, beta=beta, k=k)


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


def pooled_linear(features: int, num_classes: int) -> nn.Sequential:
    """Global average pooling and one linear layer: (N, features, H, W) -> (N, num_classes)."""
    return named_chain(
        [
            ("pool", nn.AdaptiveAvgPool2d(1)),
            ("flatten", nn.Flatten()),
            ("fc", nn.Linear(features, num_classes)),
        ]
    )
