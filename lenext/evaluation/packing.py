"""Convolutions made ready for the processor: their filters laid out once, the activation behind them joined to them.

torch lays filters out anew in every pass, which for a single image is up to half of its time. A network of depthwise
convolutions hands its maps on in oneDNN's own layout, where that can be (benchmarks/depthwise.py).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lenext.evaluation.scoring import full_precision
from lenext.exporting.fold import replace_modules
from lenext.exporting.watching import Run, watch

# Activations that oneDNN computes on what a convolution has just made: its name, numbers and algorithm of each
_ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float], str]] = {
    nn.ReLU: ("relu", [], ""),
    nn.ReLU6: ("hardtanh", [0.0, 6.0], ""),
    nn.SiLU: ("swish", [], ""),
    nn.Hardswish: ("hardswish", [], ""),
    nn.GELU: ("gelu", [], "none"),  # by the error function
}

_BLOCKED_FROM = 4  # images: of fewer, laying the filters out in every pass costs what the layout of the maps saves


def pack_convolutions(model: nn.Module, images: tuple[int, ...]) -> bool:
    """Replace in place each 2-D convolution of a float32 network in channels last that is to see `images` (N, C, H, W).

    The function stays what it was, for any N and finite numbers: a joined ReLU makes 0 of what is no number. A
    convolution that runs twice, or pads with other than zeros, stays too, and so does every one where torch's compiler
    joins none: without oneDNN, or with that of ARM. Returned: whether maps are now handed on as oneDNN lays them out.
    """
    onednn = torch.backends.mkldnn
    if not (onednn.enabled and onednn.is_available()) or torch.ops.mkldnn._is_mkldnn_acl_supported():
        return False
    packed = []
    for run in watch(model, images[1:], _can_be_joined):
        layer = run.layer
        if type(layer) is not nn.Conv2d or not run.called:
            continue
        if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            continue
        packed.append(PackedConvolution(layer, run, images[0]))
        replace_modules(model, {layer: packed[-1]})
        if run.follower is not None:
            replace_modules(model, {run.follower: nn.Identity()})
    depthwise = sum(1 < layer.groups == layer.in_channels for layer in packed)
    if images[0] < _BLOCKED_FROM or 4 * depthwise <= len(packed):  # of MobileNets a third, or half
        return False
    return _hand_on_blocked(model, packed, images)


def _hand_on_blocked(model: nn.Module, packed: Sequence["PackedConvolution"], images: tuple[int, ...]) -> bool:
    """Let maps be in oneDNN's blocked layout between the first and the last convolution, if all between can read it.

    torch has few operators for it beside convolutions and sums; where one is missing, or a network asks for another
    layout, it stays as it was.
    """
    laid_out = [layer.filters for layer in packed]  # for maps in channels last alone
    plain = [layer.weight.detach() for layer in packed]  # as they are, they would be parameters for a second time
    trial = torch.rand(2, *images[1:], generator=torch.Generator().manual_seed(0))
    with full_precision(), torch.inference_mode(), torch.autocast("cpu", enabled=False):
        _set_filters(packed, plain, blocked=True)
        try:  # blocked first: most networks end at their first operator of another kind
            found = model(trial)
            _set_filters(packed, laid_out, blocked=False)
            # an operator that takes such maps, and goes by their order in memory, would not say so
            same = torch.allclose(found, model(trial), rtol=1e-4, atol=1e-5)
        except Exception:  # a missing operator's RuntimeError, or whatever the network says of a layout
            same = False
    _set_filters(packed, plain if same else laid_out, blocked=same)
    return same


def _set_filters(packed: Sequence["PackedConvolution"], filters: Sequence[Tensor], *, blocked: bool) -> None:
    for layer, its in zip(packed, filters, strict=True):
        layer.filters = its
    packed[0].enters = packed[-1].leaves = blocked


def _can_be_joined(module: nn.Module) -> bool:
    return type(module) in _ACTIVATIONS and getattr(module, "approximate", "none") == "none"


class PackedConvolution(nn.Conv2d):
    """A convolution (N, C, H, W) -> (N, K, H', W') for prediction, by the operator that torch's compiler calls too.

    It is an nn.Conv2d as before, for a network may ask what stands where. enters, leaves: it is the first of those that
    hand on blocked maps, or the last.
    """

    filters: Tensor
    enters = leaves = False

    def __init__(self, layer: nn.Conv2d, run: Run, count: int) -> None:
        assert not isinstance(layer.padding, str)
        super().__init__(layer.in_channels, layer.out_channels, 1, groups=layer.groups, device="meta")
        self.kernel_size, self.stride = layer.kernel_size, layer.stride
        self.padding, self.dilation = layer.padding, layer.dilation
        self.weight, self.bias = layer.weight, layer.bias
        self._geometry = (list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups)
        self._activation = _ACTIVATIONS[type(run.follower)] if run.follower is not None else ("none", [], "")
        images = [count, *run.size[1:]]
        self.filters = torch.ops.mkldnn._reorder_convolution_weight(layer.weight, *self._geometry, images)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (as torch names it)
        """Convolve and activate."""
        operator = torch.ops.mkldnn._convolution_pointwise
        images = input.to_mkldnn() if self.enters else input
        out: Tensor = operator(images, self.filters, self.bias, *self._geometry, *self._activation)
        return out.to_dense() if self.leaves else out
