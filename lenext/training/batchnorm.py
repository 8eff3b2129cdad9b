"""Batch normalisation over the batches of all ranks, on any backend: the statistics are those of the whole batch.

torch's own nn.SyncBatchNorm runs on accelerators alone.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def synchronise_norms(module: nn.Module) -> None:
    """Turn every batch norm inside into a synchronised one, in place: same tensors, same names."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            norm.__class__ = SynchronisedBatchNorm  # type: ignore[assignment]  # adds no state; who holds it keeps it


class SynchronisedBatchNorm(_BatchNorm):
    """nn.BatchNorm of any dimensions, as of one process with the images of all ranks; evaluation asks nobody."""

    def _check_input_dim(self, _: Tensor) -> None:
        """Any number of dimensions does."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> (N, C, ...); while training, a collective: every rank must come by."""
        if not self.training:
            return super().forward(x)
        y, mean, variance, count = _Normalise.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * count / (count - 1), share)  # unbiased, as torch has it
        normalised: Tensor = y
        return normalised


class _Normalise(torch.autograd.Function):
    """x, weight, bias, eps -> y, and the whole batch's mean (C,), biased variance (C,) and count of values."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean, variance, count = _whole_moments(x)
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance, count)
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps), mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        """Ioffe & Szegedy 2015, section 3, the sums over the batch being those of all ranks.

        The layer's own parameters get this rank's sums: whoever averages gradients over the ranks adds them up.
        """
        x, weight, mean, variance, count = ctx.saved_tensors
        inverse = (variance + ctx.eps).rsqrt()
        scale = torch.ones_like(mean) if weight is None else weight
        # as if the statistics were constants: gradient * scale * inverse, sum of gradient * normalised, sum of gradient
        direct, along, plain = torch.ops.aten.native_batch_norm_backward(
            gradients[0], x, scale, mean, variance, mean, inverse, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack((along, plain)).to(mean.dtype)
        dist.all_reduce(sums)
        slope = scale * inverse.square() * sums[0] / count  # through the variance, by (x - mean)
        offset = scale * inverse * sums[1] / count - mean * slope  # through the mean
        shape = (1, -1, *(1,) * (x.ndim - 2))
        through = direct.sub_(torch.addcmul(offset.view(shape), x, slope.view(shape)))
        return through, None if weight is None else along, None if weight is None else plain, None


def _whole_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C,), biased variance (C,) and count () of a channel's values on all ranks, at least in float32.

    Each rank's own moments are gathered and merged by Chan, Golub & LeVeque 1983, "Algorithms for computing the sample
    variance", equation 2.1: no square of a large mean is ever subtracted from another.
    """
    wide = x if x.dtype == torch.float64 else x.float()
    variance, mean = torch.var_mean(wide, [0, *range(2, x.ndim)], correction=0)
    count = mean.new_full((1,), x.numel() / x.shape[1])
    own = torch.cat((mean, variance, count))
    gathered = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, own)
    means, variances, counts = torch.stack(gathered).split((len(mean), len(mean), 1), dim=1)
    total = counts.sum()
    whole = (counts * means).sum(0) / total
    return whole, (counts * (variances + (means - whole).square())).sum(0) / total, total
