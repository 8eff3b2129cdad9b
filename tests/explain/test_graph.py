"""A block as a graph: by hand from the papers, and against what the network executes."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lenext.errors import UsageError
from lenext.explain.boxes import Box, Graph, shorten
from lenext.explain.graph import drawable_places, trace_block
from lenext.models.catalog import build
from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.parts import named_chain


def network(name: str) -> Classifier:
    with torch.device("meta"):
        return build(name)


def traced(name: str, place: str, **options: Any) -> Graph:
    model = network(name)
    side = model.config.input_size
    return trace_block(model, place, (model.config.in_channels, side, side), **options)


def told(graph: Graph) -> list[tuple[str, list[int]]]:
    return [(" | ".join(box.lines), graph.before(n)) for n, box in enumerate(graph.boxes)]


class Custom(Classifier):
    """A network of one stage that a test brings."""

    def __init__(self, stage: nn.Module) -> None:
        super().__init__(NetworkConfig(num_classes=2, in_channels=4, input_size=8, min_size=1))
        self.stem, self.stages, self.head = nn.Identity(), named_chain([("one", stage)]), nn.Flatten()


def test_a_bottleneck_is_figure_5_right() -> None:
    graph = traced("resnet50", "stages.conv2_x.1")
    assert told(graph) == [
        ("input", []),
        ("1x1 conv, 64 | batch norm | ReLU", [0]),
        ("3x3 conv, 64 | batch norm | ReLU", [1]),
        ("1x1 conv, 256 | batch norm", [2]),
        ("+", [3, 0]),
        ("ReLU", [4]),
        ("output", [5]),
    ]
    assert [box.shape[0] for box in graph.boxes] == [256, 64, 64, 256, 256, 256, 256]
    assert graph.boxes[2].place == "stages.conv2_x.1.conv2"


def test_a_projection_stands_beside_a_bottleneck_with_stride() -> None:
    graph = traced("resnet50", "stages.conv3_x.0")
    assert ("3x3 conv, 128, /2 | batch norm | ReLU", [1]) in told(graph)
    assert ("1x1 conv, 512, /2 | batch norm", [0]) in told(graph)


def test_a_group_of_vgg_is_three_convolutions_and_a_pool() -> None:
    assert told(traced("vgg16", "stages.conv3")) == [
        ("input", []),
        ("3x3 conv, 256 | ReLU", [0]),
        ("3x3 conv, 256 | ReLU", [1]),
        ("3x3 conv, 256 | ReLU", [2]),
        ("2x2 max pool, /2", [3]),
        ("output", [4]),
    ]


def test_an_inception_module_is_figure_2b() -> None:
    lines = told(traced("googlenet_paper", "stages.3a"))
    assert sorted(line for line, before in lines if before == [0]) == [
        "1x1 conv, 16 | ReLU", "1x1 conv, 64 | ReLU", "1x1 conv, 96 | ReLU", "3x3 max pool",
    ]  # fmt: skip
    joined = next(before for line, before in lines if line == "concatenate")
    ends = ["1x1 conv, 64", "3x3 conv, 128", "5x5 conv, 32", "1x1 conv, 32"]
    assert [lines[n][0] for n in joined] == [f"{end} | ReLU" for end in ends]


def test_a_gate_multiplies_what_it_read() -> None:
    assert told(traced("efficientnet_b0", "stages.3.1.layers.squeeze")) == [
        ("input", []),
        ("global average pool", [0]),
        ("1x1 conv, 6 | SiLU", [1]),
        ("1x1 conv, 144 | sigmoid", [2]),
        ("x", [0, 3]),
        ("output", [4]),
    ]
    assert ("squeeze and excite, 6", [2]) in told(traced("efficientnet_b0", "stages.3.1"))


def test_a_head_flattens_only_what_has_pixels() -> None:
    assert [line for line, _ in told(traced("resnet18", "head"))] == [
        "input", "global average pool", "linear, 1000", "output",
    ]  # fmt: skip
    assert "flatten" in [line for line, _ in told(traced("vgg11", "head"))]


def test_a_closed_cell_tells_each_operation_in_one_box() -> None:
    graph = traced("nasnet_a_mobile", "stages.normal_1.cell_5", depth=2)
    counted = Counter(box.lines for box in graph.boxes)
    assert counted["ReLU", "3x3 separable conv, 88", "batch norm", "twice"] == 3
    assert counted["ReLU", "5x5 separable conv, 88", "batch norm", "twice"] == 2
    assert counted["3x3 average pool",] == 3
    assert counted["+",] == 5
    assert [box.lines[0] for box in graph.boxes if box.kind == "input"] == ["current input", "previous input"]
    assert sum(box.kind == "output" for box in graph.boxes) == 1


def test_a_step_shows_only_the_states_that_it_reads() -> None:
    graph = traced("nasnet_a_mobile", "stages.normal_1.cell_5.steps.4")
    inputs = [n for n, box in enumerate(graph.boxes) if box.kind == "input"]
    assert all(graph.after(n) for n in inputs)


def test_separable_convolutions_and_repetition_are_told_shortly() -> None:
    once = ["ReLU", "5x5 depthwise conv, 8", "1x1 conv, 16", "batch norm"]
    assert shorten(once) == ["ReLU", "5x5 separable conv, 16", "batch norm"]
    assert shorten([*once, *once]) == ["ReLU", "5x5 separable conv, 16", "batch norm", "twice"]
    assert shorten(["3x3 depthwise conv, 8, /2", "1x1 conv, 16"]) == ["3x3 separable conv, 16, /2"]
    assert shorten(["3x3 depthwise conv, 8", "3x3 conv, 16"]) == ["3x3 depthwise conv, 8", "3x3 conv, 16"]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("resnet50", "stages.conv3_x"),
        ("googlenet", "stages.4e"),
        ("inception_v3", "stages.7b"),
        ("densenet121", "stages.block1"),
        ("mobilenetv2_100", "stages.3"),
        ("nasnet_a_mobile", "stages.reduction_1"),
        ("convnext_tiny", "stages.res3"),
    ],
)
def test_boxes_are_the_convolutions_that_run_with_the_shapes_that_they_give(name: str, place: str) -> None:
    model = network(name).eval()
    shapes: dict[str, tuple[int, ...]] = {}

    def note(inner: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda module, given, out: shapes.__setitem__(inner, tuple(out.shape[1:]))

    for inner, module in model.get_submodule(place).named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note(f"{place}.{inner}"))
    side = model.config.input_size
    model(torch.empty(1, 3, side, side, device="meta"))
    graph = traced(name, place, fold=False)
    assert {box.place: box.shape for box in graph.boxes if box.kind == "conv"} == shapes
    assert traced(name, place).boxes[-1].shape == graph.boxes[-1].shape


@pytest.mark.parametrize(("name", "place"), [("googlenet", "stages.4e"), ("resnet50", "stages.conv4_x.0")])
def test_what_is_joined_fits(name: str, place: str) -> None:
    graph = traced(name, place)
    for number, box in enumerate(graph.boxes):
        taken = [graph.boxes[one].shape for one in graph.before(number)]
        if box.lines == ("+",):
            assert set(taken) == {box.shape}
        if box.lines == ("concatenate",):
            assert sum(shape[0] for shape in taken) == box.shape[0]
            assert {shape[1:] for shape in taken} == {box.shape[1:]}


def test_the_model_keeps_its_mode_its_hooks_and_its_weights() -> None:
    model = build("lenet5_relu").train()
    calls: list[int] = []
    model.stages[0].register_forward_hook(lambda *_: calls.append(1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trace_block(model, "stages.c3", (1, 28, 28))
    assert calls == []
    assert model.training
    assert all("forward" not in vars(module) for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_nothing_stays_behind_an_exception() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError(tuple(x.shape))

    model = Custom(nn.Sequential(nn.Conv2d(4, 2, 3), Broken()))
    with pytest.raises(ValueError, match="2, 6, 6"):
        trace_block(model, "stages.one", (4, 8, 8))
    assert all("forward" not in vars(module) and not module._forward_hooks for module in model.modules())
    assert torch.overrides._get_current_function_mode() is None


def test_an_activation_in_place_and_a_number_are_boxes_of_their_own() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(4, 1, 1))
            self.act = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.act(x * 0.5 * self.gain)
            return y + x

    lines = told(trace_block(Custom(Scaled()), "stages.one", (4, 8, 8)))
    assert lines == [
        ("input", []), ("x 0.5", [0]), ("scale each channel", [1]), ("ReLU", [2]), ("+", [3, 0]), ("output", [4]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("place", "advice"), [("stages.conv3.0", "stages.conv3_x.0"), ("", "one of"), ("auxiliary", "lenext explain block")]
)
def test_an_unknown_place_names_the_nearest(place: str, advice: str) -> None:
    with pytest.raises(UsageError) as caught:
        traced("resnet18", place)
    assert advice in caught.value.advice


def test_a_size_that_does_not_fit_is_the_networks_own_error() -> None:
    with pytest.raises(UsageError, match="8 x 8"):
        trace_block(network("resnet18"), "stem", (3, 8, 8))


def test_places_to_draw_are_the_chain_and_the_blocks_in_it() -> None:
    places = dict(drawable_places(network("googlenet")))
    assert places["stages.3a"] == "Branches"
    assert {"auxiliary.4a", "head", "stages.conv1"} <= set(places)
    assert "stages" not in places


def test_a_box_is_plain() -> None:
    assert Box("join", ("+",), (1,)).is_sign()
    assert not Box("join", ("concatenate",), (1,)).is_sign()
