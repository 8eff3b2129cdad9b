"""Costs against arithmetic by hand: MACs = outputs x numbers that each output sums. Whole networks: test_papers.py."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as module_state

from lenext.costs import count_cost
from lenext.errors import UsageError


class Call(nn.Module):
    """A network whose forward is any function of its input and one weight."""

    def __init__(self, function: Callable[[Tensor, Tensor], Any], *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(*shape))
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x, self.weight)


LAYERS: list[tuple[str, nn.Module, tuple[int, ...], int]] = [
    ("plain", nn.Conv2d(3, 8, 3), (3, 10, 12), 8 * (8 * 10) * 3 * 9),
    ("padded", nn.Conv2d(3, 8, 3, padding=1), (3, 10, 12), 8 * (10 * 12) * 3 * 9),
    ("strided", nn.Conv2d(3, 8, 3, stride=2), (3, 11, 13), 8 * (5 * 6) * 3 * 9),
    ("dilated and strided", nn.Conv2d(4, 6, 3, stride=2, dilation=3), (4, 15, 15), 6 * (5 * 5) * 4 * 9),
    ("oblong filter", nn.Conv2d(2, 4, (1, 5)), (2, 6, 9), 4 * (6 * 5) * 2 * 5),
    ("grouped", nn.Conv2d(8, 12, 3, groups=4), (8, 6, 6), 12 * (4 * 4) * (8 // 4) * 9),
    ("depthwise", nn.Conv2d(8, 8, 3, padding=1, groups=8), (8, 6, 6), 8 * (6 * 6) * 9),
    ("depthwise, two filters a map", nn.Conv2d(8, 16, 3, groups=8), (8, 6, 6), 16 * (4 * 4) * 9),
    ("transposed", nn.ConvTranspose2d(4, 6, 3, stride=2), (4, 5, 5), (4 * 5 * 5) * 6 * 9),
    ("transposed and grouped", nn.ConvTranspose2d(4, 6, 3, groups=2), (4, 5, 5), (4 * 5 * 5) * (6 // 2) * 9),
    ("1-D", nn.Conv1d(3, 5, 4), (3, 20), 5 * 17 * 3 * 4),
    ("3-D", nn.Conv3d(2, 4, 3), (2, 5, 6, 7), 4 * (3 * 4 * 5) * 2 * 27),
    ("linear", nn.Linear(20, 7), (20,), 7 * 20),
    ("linear without bias", nn.Linear(20, 7, bias=False), (20,), 7 * 20),
    ("linear on a sequence", nn.Linear(20, 7), (9, 20), 9 * 7 * 20),
    ("linear on a map", nn.Linear(20, 7), (3, 4, 20), 3 * 4 * 7 * 20),
]


@pytest.mark.parametrize(("layer", "size", "macs"), [pytest.param(*case, id=name) for name, *case in LAYERS])
def test_layer_costs_its_arithmetic(layer: nn.Module, size: tuple[int, ...], macs: int) -> None:
    cost = count_cost(layer, size)
    assert cost.macs == macs
    assert cost.params == sum(parameter.numel() for parameter in layer.parameters())
    assert cost.input_size == size
    assert cost.uncounted == ()


CALLS: list[tuple[str, Call, tuple[int, ...], int]] = [
    ("functional convolution", Call(F.conv2d, 8, 3, 3, 3), (3, 10, 12), 8 * (8 * 10) * 3 * 9),
    ("functional linear", Call(F.linear, 7, 20), (20,), 7 * 20),
    ("matmul operator", Call(lambda x, w: x @ w, 20, 7), (5, 20), 5 * 7 * 20),
    ("batched matmul", Call(lambda x, w: x @ x.mT, 1), (2, 5, 20), 2 * 5 * 5 * 20),
    ("bmm", Call(lambda x, w: torch.bmm(x, w), 1, 20, 7), (5, 20), 5 * 7 * 20),
    ("baddbmm", Call(lambda x, w: torch.baddbmm(x.new_zeros(1), x, w), 1, 20, 7), (5, 20), 5 * 7 * 20),
    ("addbmm", Call(lambda x, w: torch.addbmm(x.new_zeros(1), x, w), 1, 20, 7), (5, 20), 5 * 7 * 20),
    ("einsum", Call(lambda x, w: torch.einsum("nchw,cd->ndhw", x, w), 6, 4), (6, 3, 3), 3 * 3 * 4 * 6),
    ("matrix by vector", Call(lambda x, w: x[0] @ w, 20), (5, 20), 5 * 20),
    ("addmv", Call(lambda x, w: torch.addmv(w[:5], x[0], w), 20), (5, 20), 5 * 20),
    ("vector by vector", Call(lambda x, w: x[0] @ w, 20), (20,), 20),
]


@pytest.mark.parametrize(("network", "size", "macs"), [pytest.param(*case, id=name) for name, *case in CALLS])
def test_function_call_costs_its_arithmetic(network: Call, size: tuple[int, ...], macs: int) -> None:
    cost = count_cost(network, size)
    assert cost.macs == macs
    assert cost.uncounted == ()


def test_attention_costs_its_two_matrix_products() -> None:
    network = Call(lambda x, w: F.scaled_dot_product_attention(x, x, x), 1)
    assert count_cost(network, (2, 8, 16)).macs == 2 * (8 * 8 * 16) * 2


def test_layer_used_twice_costs_twice_and_has_its_parameters_once() -> None:
    layer = nn.Conv2d(4, 4, 3, padding=1)
    once, twice = count_cost(layer, (4, 6, 6)), count_cost(nn.Sequential(layer, layer), (4, 6, 6))
    assert twice.macs == 2 * once.macs == 2 * 4 * 36 * 4 * 9
    assert (twice.params, twice.weight_bytes) == (once.params, once.weight_bytes) == (148, 4 * 148)


def test_tied_weight_is_one_parameter() -> None:
    encoder, decoder = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
    decoder.weight = encoder.weight
    cost = count_cost(nn.Sequential(encoder, decoder), (6,))
    assert (cost.params, cost.macs) == (36, 72)


def test_memory_format_changes_no_cost() -> None:
    first = nn.Conv2d(3, 8, 3)
    network = nn.Sequential(first, nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2))
    plain = count_cost(network, (3, 10, 10))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's overloads
    assert first.weight.is_contiguous(memory_format=torch.channels_last)
    assert count_cost(network, (3, 10, 10)) == plain


def test_network_on_the_meta_device_costs_the_same() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    assert count_cost(copy.deepcopy(network).to("meta"), (3, 9, 9)) == count_cost(network, (3, 9, 9))


def test_frozen_parameters_count() -> None:
    network = nn.Linear(4, 3).requires_grad_(False)
    assert count_cost(network, (4,)).params == 15


@pytest.mark.parametrize(("dtype", "size"), [(torch.float16, 2), (torch.bfloat16, 2), (torch.float64, 8)])
def test_weight_bytes_follow_the_type(dtype: torch.dtype, size: int) -> None:
    cost = count_cost(nn.Conv2d(3, 8, 3).to(dtype), (3, 9, 9))
    assert cost.weight_bytes == size * (3 * 8 * 9 + 8)


def test_weight_bytes_include_buffers_and_parameters_do_not() -> None:
    cost = count_cost(nn.BatchNorm2d(8), (8, 4, 4))
    assert cost.params == 16
    assert cost.weight_bytes == 4 * (16 + 16) + 8  # mean and variance; the count of batches is one int64


def test_other_arithmetic_is_named_sorted_and_once() -> None:
    network = nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Dropout(), nn.Sigmoid(), nn.Flatten(), nn.Linear(8 * 9, 5), nn.Softmax(1)),
    )
    names = count_cost(network, (3, 8, 8)).uncounted
    assert list(names) == sorted(set(names))
    assert [next(name for name in names if part in name) for part in ("batch_norm", "max_pool2d")]
    assert {"relu", "sigmoid", "softmax"} < set(names)
    assert len(names) == 5


def test_moving_values_is_no_arithmetic() -> None:
    def shuffle(x: Tensor, w: Tensor) -> Tensor:
        x = F.pad(torch.cat([x, x.flip(1)], 1), (1, 1, 1, 1))[:, ::2]
        x = F.channel_shuffle(x.clone().to(memory_format=torch.channels_last), 2).permute(0, 2, 3, 1).contiguous()
        return torch.stack(x.chunk(2, 1)).repeat(2, 1, 1, 1, 1).roll(1).flatten(1)

    assert count_cost(Call(shuffle, 1), (4, 6, 6)).uncounted == ()


def test_arithmetic_on_whole_numbers_is_not_named() -> None:
    assert count_cost(Call(lambda x, w: x[:, torch.arange(3) * 2], 1), (6,)).uncounted == ()


class Everything(nn.Module):
    """What a copy can get wrong: mode by part, statistics, hooks, a plain tensor, randomness in training."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.scale = torch.full((4, 1, 1), 2.0)
        self.seen: list[Tensor] = []
        self.conv.register_forward_hook(lambda module, inputs, output: self.seen.append(output))
        self.norm.eval()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.drop(self.norm(self.conv(x))) * self.scale
        return out


def snapshot(network: Everything) -> dict[str, Any]:
    return {
        "modes": [module.training for module in network.modules()],
        "hooks": [len(module._forward_hooks) for module in network.modules()],
        "state": {key: value.clone() for key, value in network.state_dict().items()},
        "places": [(id(tensor), tensor.device, tensor.requires_grad) for tensor in network.parameters()],
        "gradient": network.conv.weight.grad,
        "scale": network.scale.device,
        "random": torch.get_rng_state(),
    }


@pytest.mark.parametrize("size", [(3, 8, 8), (5, 8, 8)], ids=["right input", "wrong input"])
def test_counting_leaves_the_network_as_it_was(size: tuple[int, ...]) -> None:
    network = Everything()
    network(torch.zeros(2, 3, 8, 8)).sum().backward()
    network.seen.clear()
    before = snapshot(network)
    if size == (3, 8, 8):
        assert count_cost(network, size).macs == 4 * 36 * 27
    else:
        with pytest.raises(RuntimeError, match="channel"):
            count_cost(network, size)
    after = snapshot(network)
    torch.testing.assert_close(after.pop("state"), before.pop("state"), rtol=0, atol=0)
    assert after.pop("gradient") is before.pop("gradient")
    assert torch.equal(after.pop("random"), before.pop("random"))
    assert after == before
    assert network.seen == []
    assert not module_state._global_forward_hooks and not module_state._global_forward_pre_hooks
    network(torch.zeros(2, 3, 8, 8))
    assert len(network.seen) == 1  # the hook is still there and works


def test_hook_that_cannot_be_copied_is_no_obstacle() -> None:
    network = nn.Linear(4, 3)
    file = open(__file__)  # noqa: SIM115, PTH123  # a bound method of an open file: deepcopy refuses it
    with file:
        network.register_forward_hook(file.write)  # type: ignore[arg-type]
        assert count_cost(network, (4,)).macs == 12


@pytest.mark.parametrize("size", [(), (0, 8, 8), (3, -1, 8)])
def test_impossible_size_is_a_usage_error(size: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="without the batch"):
        count_cost(nn.Conv2d(3, 4, 3), size)


def test_lazy_layers_ask_for_a_first_batch() -> None:
    with pytest.raises(UsageError, match="lazy"):
        count_cost(nn.Sequential(nn.LazyLinear(5)), (4,))


def test_network_without_products_costs_nothing() -> None:
    cost = count_cost(nn.ReLU(), (3, 4, 4))
    assert (cost.params, cost.macs, cost.weight_bytes, cost.uncounted) == (0, 0, 0, ("relu",))
