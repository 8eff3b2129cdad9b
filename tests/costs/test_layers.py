"""Each module's own cost: rows that sum to the totals, and figures by hand."""

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lenext.costs import Cost, LayerCost, count_cost
from lenext.costs.meta import MetaMode, without_data
from lenext.costs.operators import Convolution, reason_not_counted
from lenext.errors import UsageError
from lenext.models.catalog import FAMILIES, build
from lenext.papers import load_papers


def smallest(family: str) -> str:
    """The family's row that costs least."""
    return min((row for row in load_papers().values() if row.family == family), key=lambda row: row.macs).name


class Shared(nn.Module):
    """One layer at two places and under two names, by __call__ and by forward, in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.again = self.first

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = self.first(x)
        return self.again.forward(x)


class Functional(nn.Module):
    """A convolution, a pooling and a matrix product that no module stands for."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Parameter(torch.zeros(6, 2, 3, 3))
        self.weight = nn.Parameter(torch.zeros(6, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(F.conv2d(x, self.filters, stride=2, padding=1, groups=2)), 2)
        return torch.einsum("nchw,cd->ndhw", x, self.weight)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.attend(x, x, x, need_weights=False)[0]
        return out


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 9)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.used(x)
        return out


class Inference(nn.Module):
    """Switches inference mode on, in which torch hands on linear and conv2d as they were called."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4 * 36, 5)

    def forward(self, x: Tensor) -> Tensor:
        with torch.inference_mode():
            out: Tensor = self.head(F.relu(self.conv(x)).flatten(1))
            return out


class Survivor(nn.Module):
    """Meets an exception inside a module, and goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.wrong = nn.Linear(4, 4), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        try:
            out: Tensor = self.wrong(x)
        except RuntimeError:
            out = x @ x.mT
        return out


def channels_last(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    return module


MODULES: list[tuple[str, Callable[[], nn.Module], tuple[int, ...]]] = [
    ("shared", Shared, (4, 6, 6)),
    ("functional", Functional, (4, 9, 9)),
    ("attention", Attention, (7, 8)),
    ("unused", Unused, (4,)),
    ("inference mode", Inference, (3, 8, 8)),
    ("exception", Survivor, (3, 4)),
    ("transposed", lambda: nn.Sequential(nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), nn.ReLU()), (4, 5, 5)),
    ("depthwise", lambda: nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8)), (8, 6, 6)),
    ("1-D", lambda: nn.Sequential(nn.Conv1d(3, 5, 4), nn.MaxPool1d(2)), (3, 20)),
    ("3-D", lambda: nn.Sequential(nn.Conv3d(2, 4, 3), nn.AvgPool3d(2)), (2, 6, 6, 7)),
    ("recurrent", lambda: nn.GRUCell(4, 3), (4,)),
    ("channels last", lambda: channels_last(nn.Conv2d(3, 8, 3)), (3, 9, 9)),
    *[(name, lambda name=name: build(name), load_papers()[name].input_size) for name in map(smallest, FAMILIES)],
]


def rows(cost: Cost) -> dict[str, LayerCost]:
    found = {layer.name: layer for layer in cost.layers}
    assert len(found) == len(cost.layers)  # a module is one row
    return found


@pytest.mark.parametrize(("make", "size"), [pytest.param(make, size, id=name) for name, make, size in MODULES])
def test_rows_sum_to_the_totals(make: Callable[[], nn.Module], size: tuple[int, ...]) -> None:
    with torch.device("meta"):
        network = make()
    cost = count_cost(network, size)
    for figure in ("macs", "weight_bytes", "activations", "activation_bytes", "traffic_bytes"):
        assert sum(getattr(layer, figure) for layer in cost.layers) == getattr(cost, figure)
    assert sum(layer.params for layer in cost.layers if not layer.auxiliary) == cost.params
    assert sum(layer.params for layer in cost.layers if layer.auxiliary) == cost.auxiliary_params
    assert cost.params + cost.auxiliary_params == sum(parameter.numel() for parameter in network.parameters())
    assert {name for layer in cost.layers for name in layer.uncounted} == set(cost.uncounted)
    assert set(rows(cost)) <= {name for name, _ in network.named_modules()}


def test_a_convolution_is_told_in_full() -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 8, (3, 5), stride=2, padding=(1, 2), groups=2), nn.BatchNorm2d(8), nn.ReLU(True)
    )
    conv, norm, relu = count_cost(network, (4, 9, 12)).layers
    out = 8 * 5 * 6
    assert conv == LayerCost(
        name="0", kind="Conv2d", calls=1, output=(8, 5, 6), params=8 * 2 * 15 + 8, macs=out * 2 * 15,
        activations=out, activation_bytes=4 * out, weight_bytes=4 * 248, traffic_bytes=4 * (4 * 9 * 12 + 248 + out),
        uncounted=(), convolutions=(Convolution(4, 8, (3, 5), (2, 2), (1, 2), (1, 1), 2, False),),
    )  # fmt: skip
    assert conv.flops == 2 * out * 2 * 15
    assert conv.intensity == conv.flops / (4 * (432 + 248 + out))
    assert (norm.macs, norm.activations, norm.uncounted) == (0, out, ("native_batch_norm",))
    assert norm.weight_bytes == 4 * 4 * 8 + 8  # and the number of batches, an int64
    assert (relu.activations, relu.traffic_bytes, relu.uncounted) == (0, 2 * 4 * out, ("relu",))  # in place


def test_shared_layer_is_one_row_of_all_its_calls() -> None:
    cost = count_cost(Shared(), (4, 6, 6))
    assert [(layer.name, layer.calls, layer.macs) for layer in cost.layers] == [("first", 4, 4 * 4 * 36 * 4 * 9)]


def test_function_calls_belong_to_the_module_that_calls() -> None:
    network = nn.Sequential(nn.Identity(), Functional())
    (row,) = count_cost(network, (4, 9, 9)).layers
    assert (row.name, row.kind) == ("1", "Functional")
    assert row.macs == 6 * 25 * 2 * 9 + 4 * 6 * 5  # 5 x 5 pooled to 2 x 2, each place times the matrix
    assert row.convolutions == (Convolution(4, 6, (3, 3), (2, 2), (1, 1), (1, 1), 2, False),)
    assert row.output == (5, 2, 2)


def test_attention_costs_its_projections_and_its_two_products() -> None:
    found = rows(count_cost(Attention(), (7, 8)))
    projections, products = 4 * 7 * 8 * 8, 2 * 7 * 7 * 8
    assert found["attend"].macs == projections + products
    assert found["attend.out_proj"].calls == 0  # torch reads its weight and does not run it
    assert found["attend.out_proj"].params == 72


def test_module_that_does_not_run_has_its_parameters_and_costs_nothing() -> None:
    row = rows(count_cost(Unused(), (4,)))["unused"]
    assert (row.calls, row.params, row.macs, row.activations, row.output) == (0, 45, 0, 0, ())


def test_auxiliary_heads_are_rows_without_cost() -> None:
    with torch.device("meta"):
        network = build("googlenet")
    heads = [layer for layer in count_cost(network, (3, 224, 224)).layers if layer.auxiliary]
    assert heads and all(layer.name.startswith("auxiliary.") for layer in heads)
    assert {(layer.calls, layer.macs, layer.traffic_bytes) for layer in heads} == {(0, 0, 0)}


def test_inference_mode_changes_no_row() -> None:
    found = rows(count_cost(Inference(), (3, 8, 8)))
    assert {name: row.macs for name, row in found.items()} == {"conv": 4 * 36 * 27, "head": 5 * 144, "": 0}


def test_exception_inside_a_module_leaves_it() -> None:
    found = rows(count_cost(Survivor(), (3, 4)))
    assert found[""].macs == 3 * 3 * 4
    assert found["wrong"].macs == 0


def test_rows_stand_in_the_order_in_which_they_run() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first = nn.Linear(3, 2), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.last(self.first(x))
            return out

    assert [layer.name for layer in count_cost(Backwards(), (4,)).layers] == ["first", "last"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("relu", "elementwise"), ("add", "elementwise"), ("hardswish", "elementwise"), ("softmax", "normalisation"),
        ("native_batch_norm", "normalisation"), ("max_pool2d_with_indices", "pooling"), ("mean", "reduction"),
        ("fft_r2c", "no formula"), ("upsample_bilinear2d", "no formula"),
    ],
)  # fmt: skip
def test_every_operator_without_macs_has_its_reason(name: str, reason: str) -> None:
    assert reason_not_counted(name) == reason


class Remembering(MetaMode):
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self.perform(func, args, kwargs or {})[0]


def wide(*size: int) -> Tensor:
    return torch.empty(*size, device="meta")


OPERATORS: list[tuple[str, Callable[[], Any]]] = [
    ("sum", lambda: wide(2, 3, 4, 5) + wide(2, 3, 4, 5)),
    ("broadcast", lambda: wide(2, 3, 4, 5) * wide(3, 1, 1)),
    ("types", lambda: wide(2, 3).half() + wide(2, 3)),
    ("whole numbers", lambda: torch.ones(2, device="meta", dtype=torch.int64) + 1),
    ("whole and real", lambda: torch.ones(2, device="meta", dtype=torch.int64) + 1.0),
    ("comparison", lambda: wide(2, 3) > wide(2, 3)),
    ("channels last", lambda: F.relu(wide(2, 3, 4, 5).to(memory_format=torch.channels_last))),
    ("mixed order", lambda: wide(2, 3, 4, 5) + wide(2, 3, 4, 5).to(memory_format=torch.channels_last)),
    ("transposed", lambda: F.gelu(wide(4, 6).mT)),
    ("expanded", lambda: F.relu(wide(1, 6).expand(4, 6))),
    ("in place", lambda: F.relu_(wide(4, 6))),
    ("reshaping in place", lambda: wide(1, 6).squeeze_(0)),
    ("normalised", lambda: F.batch_norm(wide(2, 3, 4, 4), wide(3), wide(3))),
    ("normalised in training", lambda: F.batch_norm(wide(2, 3, 4, 4), wide(3), wide(3), training=True)),
    ("several results", lambda: torch.max(wide(4, 6), 1)),
    ("list of results", lambda: torch.unsafe_split(wide(4, 6), 2)),
]


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in OPERATORS])
def test_remembered_results_are_like_torchs_own(make: Callable[[], Any]) -> None:
    def shapes(result: Any) -> list[Any]:
        results = [result] if isinstance(result, Tensor) else list(result)
        return [(one.shape, one.stride(), one.dtype, one.device) for one in results]

    expected = shapes(make())
    with torch.no_grad(), Remembering():
        assert [shapes(make()) for _ in range(3)] == 3 * [expected]


def test_a_number_is_remembered_with_its_type() -> None:
    whole = torch.ones(2, device="meta", dtype=torch.int64)
    with torch.no_grad(), Remembering():
        assert [(whole + one).dtype for one in (1, 1.0, True)] == [torch.int64, torch.float32, torch.int64]


def test_numbers_with_data_are_worked_out_anew() -> None:
    class Counts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            total = torch.zeros(1, dtype=torch.int64, device="cpu")
            for _ in range(4):
                total = total + 1
            return x.repeat(int(total), 1)

    with torch.device("cpu"):
        assert count_cost(Counts(), (3,)).activations == 12


def test_an_operator_in_place_returns_the_tensor_itself() -> None:
    with torch.no_grad(), Remembering():
        for _ in range(3):
            x = wide(2, 3)
            assert x.add_(wide(2, 3)) is x


@pytest.mark.parametrize(("name", "side"), [("resnet20", 32), ("lenet5_relu", 28), ("densenet_bc_cifar_L40_k12", 32)])
def test_a_training_step_multiplies_what_torch_counts_forward_and_backward(name: str, side: int) -> None:
    """torch's counter of a real step; it takes no account of groups in the gradient of a filter, so none here."""
    model = build(name)
    images = torch.randn(2, model.config.in_channels, side, side)
    with FlopCounterMode(display=False) as counter:
        model.eval()(images).sum().backward()
    found = count_cost(model, images.shape[1:], batch=2, train=True)
    assert found.training_macs == counter.get_total_flops() // 2
    assert found.training_macs == sum(layer.training_macs or 0 for layer in found.layers)
    assert count_cost(model, images.shape[1:], batch=2).training_macs is None


def test_a_step_of_depthwise_and_frozen_layers_by_hand() -> None:
    """The first layer has no gradient of the image, the last none of its filter."""
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 1))
    model[2].requires_grad_(False)
    found = rows(count_cost(model, (4, 9, 9), train=True))
    macs = [4 * 49 * 9, 4 * 25 * 18, 4 * 25 * 4]
    assert [found[name].macs for name in "012"] == macs
    assert [found[name].training_macs for name in "012"] == [2 * macs[0], 3 * macs[1], 2 * macs[2]]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_batch_costs_its_images_and_the_weights_once() -> None:
    one, many = (rows(count_cost(nn.Sequential(nn.Linear(8, 6)), (8,), batch=batch))["0"] for batch in (1, 5))
    assert (many.macs, many.activations, many.output) == (5 * one.macs, 5 * one.activations, one.output)
    assert many.traffic_bytes == 4 * (5 * (8 + 6) + 54)
    with pytest.raises(UsageError, match="no images"):
        count_cost(nn.Linear(8, 6), (8,), batch=0)


def test_a_product_of_more_sides_is_written_once() -> None:
    """torch ends it by a view that its schema does not call one."""
    for model in (nn.Linear(8, 6, bias=False), nn.Linear(8, 6)):
        found = count_cost(model, (5, 8))
        assert found.activations == 30
        assert found.traffic_bytes == 4 * (40 + 30 + found.params)


def test_what_the_network_itself_does_not_train_has_no_backward_pass() -> None:
    class Probe(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                y = self.body(x)
            scores: Tensor = self.head(y)
            return scores

    found = rows(count_cost(Probe(), (4,), train=True))
    assert (found["body"].training_macs, found["head"].training_macs) == (20, 2 * 15)


def test_networks_without_data_are_the_same_networks_and_the_collector_is_back() -> None:
    with without_data():
        assert not gc.isenabled()
        network = build("resnet20")
        real = torch.zeros(3, device="cpu").fill_(2)  # what has data is filled as ever
    assert gc.isenabled() and real.tolist() == [2, 2, 2]
    assert {name: (one.shape, one.dtype) for name, one in network.state_dict().items()} == {
        name: (one.shape, one.dtype) for name, one in build("resnet20").state_dict().items()
    }
    assert all(one.is_meta for one in (*network.parameters(), *network.buffers()))
