"""AlexNet's two columns on two processes, as in 2012 on two GPUs (Krizhevsky et al. 2012, section 3.2 and figure 2).

Each process holds half of the kernels of every layer. conv2, conv4 and conv5 read their own column's maps; conv3 and
the linear layers read both, so that the columns communicate there, and nowhere else but for two maps on each side of
the border between them: section 3.3 sums over neighbours among all kernels of a layer. (Whether the authors' program
did, the paper does not say.) Together the columns are the network of two groups of `alexnet.py` on one process.
"""

import copy
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lenext.errors import UsageError
from lenext.models.alexnet import AlexNet
from lenext.models.parts import LocalResponseNorm

COLUMNS = 2


class Column(nn.Module):
    """Column 0 or 1 of a network, on the process of that rank of torch's default group; tensors keep their names.

    Both processes call theirs with the same images, and a loss of the scores is computed alike on both. Each then holds
    half of every gradient of the whole network: of its own kernels.
    """

    def __init__(self, whole: AlexNet, rank: int) -> None:
        super().__init__()
        if whole.config.groups != COLUMNS or whole.config.head != "fc" or whole.config.num_classes % COLUMNS:
            raise UsageError(
                "cannot split this network into two columns",
                why="it takes convolutions of two groups, linear layers, and an even number of classes",
                advice="the row alexnet, bvlc_alexnet or caffenet",
            )
        self.rank = rank
        self.stages, self.head = copy.deepcopy(whole.stages), copy.deepcopy(whole.head)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                _halve(layer, rank)

    def forward(self, images: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, num_classes), the scores of all classes on both processes."""
        x = images
        for name, stage in self.stages.named_children():
            if name == "conv3":
                x = _exchange(x)
            for layer in stage.children():
                x = self._normalise(layer, x) if isinstance(layer, LocalResponseNorm) else layer(x)
        for layer in self.head.children():  # fc6, fc7 and fc8 read both columns
            x = layer(_exchange(x) if isinstance(layer, nn.Linear) else x)
        return _exchange(x, alike=True)

    def _normalise(self, norm: LocalResponseNorm, x: Tensor) -> Tensor:
        """Normalise this column's maps, with the other's next to the border as their neighbours."""
        near, channels = norm.size // 2, x.shape[1]
        border = _exchange(x[:, channels - near :] if self.rank == 0 else x[:, :near])
        if self.rank == 0:
            y: Tensor = norm(torch.cat((x, border[:, near:]), dim=1))
            return y[:, :channels]
        y = norm(torch.cat((border[:, :near], x), dim=1))
        return y[:, near:]


def _halve(layer: nn.Conv2d | nn.Linear, rank: int) -> None:
    """Keep a column's half of the kernels; of two groups they read the column's own maps."""
    for name, parameter in list(layer.named_parameters()):
        setattr(layer, name, nn.Parameter(parameter.detach().chunk(COLUMNS)[rank].clone()))
    if isinstance(layer, nn.Conv2d):
        layer.out_channels //= COLUMNS
        layer.in_channels, layer.groups = layer.weight.shape[1], 1
    else:
        layer.out_features //= COLUMNS


def _exchange(x: Tensor, *, alike: bool = False) -> Tensor:
    """Both columns' tensors behind each other: (N, C, ...) -> (N, 2 C, ...).

    The gradients that come back are of different layers, and are added up; unless both processes compute `alike` with
    the result, and so each has the whole gradient.
    """
    together: Tensor = _Exchange.apply(x, alike)  # type: ignore[no-untyped-call]
    return together


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alike: bool) -> Tensor:
        ctx.alike = alike
        halves = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(COLUMNS)]
        dist.all_gather(halves, x.contiguous())
        return torch.cat(halves, dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        if not ctx.alike:
            dist.all_reduce(gradient)
        return gradient.chunk(COLUMNS, dim=1)[dist.get_rank()].contiguous(), None
