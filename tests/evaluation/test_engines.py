"""Engines on real images. Oracle: torch's float32 scores of the network as it was trained."""

import copy
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lenext.data.preprocessing import preprocess
from lenext.data.published import open_published
from lenext.device import Precision
from lenext.errors import DataError, MachineError, UsageError, WeightsError
from lenext.evaluation.choosing import choose_engine, open_engine, require_engine
from lenext.evaluation.engines import ENGINES, EngineConfig, EngineName, TorchEngine
from lenext.evaluation.scoring import score_images
from lenext.models.catalog import build
from lenext.models.classifier import Classifier
from lenext.predictions import softmax

from .test_scoring import preprocessing_for, trained

PREPARED: list[EngineName] = ["eager", "openvino", "onnxruntime"]  # compiling takes its time: a test of its own


@pytest.fixture(scope="module")
def network() -> Classifier:
    return trained("resnet20", 8, 0.1)


@pytest.fixture(scope="module")
def digits() -> Tensor:
    """1,000 digits that the network has not been trained on, as it is fed."""
    images = [*open_published("digits").open("test").images, *open_published("digits").open("train").images[-640:]]
    return preprocess(images, preprocessing_for(8))


@pytest.fixture(scope="module")
def scores(network: Classifier, digits: Tensor) -> NDArray[np.float32]:
    return score_images(copy.deepcopy(network), digits)


def config(name: EngineName, precision: Precision = "float32", batch_size: int = 32) -> EngineConfig:
    return EngineConfig(name=name, precision=precision, batch_size=batch_size, thread_count=1)


def differences(found: NDArray[np.float32], expected: NDArray[np.float32]) -> tuple[float, NDArray[np.float64]]:
    """Share of images with the same likeliest class, and the largest difference of a probability of each image (N,)."""
    agreement = float((found.argmax(1) == expected.argmax(1)).mean())
    return agreement, np.abs(softmax(found) - softmax(expected)).max(1)


@pytest.mark.parametrize("name", PREPARED)
def test_a_thousand_real_images_get_the_networks_answers(
    network: Classifier, digits: Tensor, scores: NDArray[np.float32], name: EngineName
) -> None:
    assert len(digits) == 1000
    assert len(np.unique(scores.argmax(1))) == 10
    with open_engine(network, (1, 8, 8), config(name)) as engine:
        assert engine.about.name == name
        assert (engine.about.folded, engine.about.remaining) == (19, 0)
        found = np.concatenate(list(engine.stream(digits.split(100))))
    agreement, apart = differences(found, scores)
    assert agreement >= 0.995
    assert apart.max() <= 1e-4


def test_bf16_is_as_near_as_torchs_own_autocast(
    network: Classifier, digits: Tensor, scores: NDArray[np.float32]
) -> None:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        _, usual = differences(copy.deepcopy(network).eval()(digits).float().numpy(), scores)
    with open_engine(network, (1, 8, 8), config("eager", "bf16")) as engine:
        agreement, apart = differences(np.concatenate(list(engine.stream(digits.split(100)))), scores)
    assert engine.about.precision == "bf16"
    assert agreement >= 0.995
    assert 1e-4 < np.quantile(apart, 0.99) <= 1.25 * np.quantile(usual, 0.99)


class Small(nn.Module):
    def __init__(self, act: Callable[[Tensor], Tensor] = F.relu) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(144, 10)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.act(self.norm(self.conv(x))).flatten(1))
        return scores


@pytest.fixture
def small() -> Small:
    torch.manual_seed(0)
    return Small()


def test_a_compiled_network_gives_the_same_answers(small: Small, digits: Tensor) -> None:
    expected = score_images(copy.deepcopy(small), digits)
    with open_engine(small, (1, 8, 8), config("compile")) as engine:
        found = np.concatenate(list(engine.stream(digits.split(300))))
        with torch.profiler.profile() as run:
            engine(digits[:32])
    assert differences(found, expected)[1].max() <= 1e-4
    assert found.shape == expected.shape
    # what torch's compiler calls where filters are constants, laid out once
    assert "mkldnn::_convolution_pointwise" in {event.name for event in run.events()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision", "allowed"),
    [("compile", "float32", 1e-4), ("compile", "bf16", 0.1), ("openvino", "bf16", 0.1)],
)
def test_a_thousand_real_images_get_the_networks_answers_from_engines_that_take_longer(
    network: Classifier,
    digits: Tensor,
    scores: NDArray[np.float32],
    name: EngineName,
    precision: Precision,
    allowed: float,
) -> None:
    with open_engine(network, (1, 8, 8), config(name, precision)) as engine:
        agreement, apart = differences(np.concatenate(list(engine.stream(digits.split(100)))), scores)
    assert agreement >= 0.995
    assert apart.max() <= allowed


@pytest.mark.parametrize("name", PREPARED)
@pytest.mark.parametrize("batch_size", [1, 5, 32])
def test_batches_come_back_in_order_whatever_their_sizes(
    small: Small, digits: Tensor, name: EngineName, batch_size: int
) -> None:
    expected = score_images(copy.deepcopy(small), digits[:60])
    sizes = [1, 40, 3, 16]
    with open_engine(small, (1, 8, 8), config(name, batch_size=batch_size)) as engine:
        parts = list(engine.stream(digits[:60].split(sizes)))
        again = engine(digits[:7])
    assert [len(part) for part in parts] == sizes
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-5)
    np.testing.assert_allclose(again, expected[:7], atol=1e-5)


@pytest.mark.parametrize("name", PREPARED)
def test_the_users_network_comes_back_untouched_and_in_its_mode(small: Small, digits: Tensor, name: EngineName) -> None:
    small.conv.eval()
    before = copy.deepcopy(small.state_dict())
    kept = [id(parameter) for parameter in small.parameters()]
    with open_engine(small, (1, 8, 8), config(name)) as engine:
        engine(digits[:4])
    assert [module.training for module in small.modules()] == [True, False, True, True]
    assert [id(parameter) for parameter in small.parameters()] == kept
    assert all(parameter.requires_grad for parameter in small.parameters())
    assert all(torch.equal(value, before[key]) for key, value in small.state_dict().items())
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("name", PREPARED)
def test_a_closed_engine_and_an_empty_batch_are_refused(small: Small, digits: Tensor, name: EngineName) -> None:
    engine = open_engine(small, (1, 8, 8), config(name))
    with pytest.raises(DataError, match="there are none"):
        engine(digits[:0])
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        engine(digits[:4])


def test_a_stream_that_is_left_early_leaves_the_engine_usable(small: Small, digits: Tensor) -> None:
    with open_engine(small, (1, 8, 8), config("openvino", batch_size=1)) as engine:
        stream = engine.stream(digits[:50].split(5))
        first = next(stream)
        del stream
        np.testing.assert_allclose(engine(digits[:5]), first, atol=1e-6)


def test_an_engine_that_says_something_else_than_the_network_is_exit_4() -> None:
    noisy = Small(lambda x: x + torch.rand_like(x))
    with pytest.raises(WeightsError, match=r"scores differ by .* from the network's own"):
        open_engine(noisy, (1, 8, 8), config("onnxruntime"))


@pytest.mark.parametrize(
    ("name", "module", "extra"), [("openvino", "openvino", "openvino"), ("onnxruntime", "onnxruntime", "onnx")]
)
def test_a_missing_extra_is_exit_6_with_the_pip_line(
    monkeypatch: pytest.MonkeyPatch, name: EngineName, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as Python marks a module that cannot be imported
    with pytest.raises(MachineError, match=rf"pip install 'lenext\[{extra}\]'") as told:
        require_engine(config(name))
    assert told.value.exit_code == 6


def test_weights_that_are_no_numbers_are_refused_by_every_engine(small: Small) -> None:
    small.conv.weight.data[0, 0, 1, 1] = float("nan")  # a ReLU joined to its convolution would make 0 of it
    for name in PREPARED:
        with pytest.raises(WeightsError, match=r"no numbers: conv\.weight"):
            open_engine(small, (1, 8, 8), config(name))


def test_a_missing_compiler_is_exit_6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")  # where torch looks for one
    with pytest.raises(MachineError, match=r"no C\+\+ compiler"):
        require_engine(config("compile"))


def test_what_no_machine_can_do_is_exit_2() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'openvino'"):
        require_engine(EngineConfig(name="openvin"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="batches of 0"):
        require_engine(EngineConfig(batch_size=0))
    with pytest.raises(UsageError, match="onnxruntime in bf16"):
        require_engine(config("onnxruntime", "bf16"))


def test_auto_prepares_another_engine_only_for_many_images(
    small: Small, digits: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chosen(images: int) -> tuple[str, str]:
        engine, why = choose_engine(small, digits[:8], images, config("auto"))
        with engine:
            return engine.about.name, why

    assert chosen(32) == ("eager", "nothing to prepare")
    assert chosen(33)[0] == "eager"
    name, why = chosen(10**12)
    assert name == "openvino"
    assert why.startswith("eager would take about")
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert chosen(10**12)[0] == "onnxruntime"


def test_auto_does_not_compile_what_a_layout_without_compiler_makes_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    for runtime in ("openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, runtime, None)
    model = build("mobilenetv2_100_small").eval()
    monkeypatch.setattr("lenext.evaluation.choosing.has_compiler", lambda: True)
    engine, why = choose_engine(model, torch.rand(4, 3, 32, 32), 10**12, config("auto"))
    assert engine.about.name == "eager"
    assert why.startswith("eager would take about")
    assert isinstance(engine, TorchEngine) and engine.blocked


def test_auto_says_why_it_stays_with_eager(digits: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    engine, why = choose_engine(Small(lambda x: x + torch.rand_like(x)), digits[:8], 10**12, config("auto"))
    assert engine.about.name == "eager"
    assert "scores differ" in why


def test_engines_are_those_of_the_command_line() -> None:
    from typing import get_args

    assert get_args(EngineName) == ENGINES
