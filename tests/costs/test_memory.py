"""Memory of a step without data. Oracles: sums by hand, a real step's saved tensors, the profiler's memory events."""

import functools
import gc
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from lenext.cli import main
from lenext.costs.memory import Memory, _Ledger, largest_batch, measure_memory
from lenext.costs.meta import without_data
from lenext.errors import UsageError
from lenext.models.catalog import build
from lenext.models.classifier import Classifier
from lenext.models.resnet import ResNet
from lenext.training.config import LossConfig, OptimizerConfig
from lenext.training.objective import Objective
from lenext.training.optim import make_optimizer, state_copies

# The least costly of ten families, side of the image, batch. Kernels take some hundred KiB beside: small batches of
# smaller networks would be mostly those.
NETWORKS = [
    ("alexnet_small", 32, 128), ("vgg11_small", 32, 8), ("googlenet_small", 32, 8), ("resnet20", 32, 16),
    ("wrn_16_4", 32, 8), ("densenet_bc_cifar_L40_k12", 32, 4), ("seresnet20", 32, 16), ("mobilenetv2_100_small", 32, 8),
    ("inception_v3", 107, 2), ("efficientnet_b0_small", 32, 8),
]  # fmt: skip


def momentum(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.1)


def loss_of(model: Classifier, images: Tensor) -> Tensor:
    """The loss that training minimises, auxiliary heads with their weight."""
    loss: Tensor = Objective(model, LossConfig()).train()(images, torch.zeros(len(images), dtype=torch.long)).loss
    return loss


def real(name: str, side: int, batch: int) -> tuple[Classifier, Tensor]:
    model = build(name).train()
    return model, torch.randn(batch, model.config.in_channels, side, side)


@functools.cache
def measured(name: str, side: int, batch: int, precision: Any) -> Memory:
    with without_data():
        model = build(name).train()
    size = (model.config.in_channels, side, side)
    return measure_memory(model, size, batch, make_optimizer=momentum, precision=precision)


def test_a_linear_layer_by_hand() -> None:
    """44 weights; the step keeps log-probabilities (3, 4), labels (3) of 8 bytes, and the divisor of the loss."""
    found = measure_memory(nn.Linear(10, 4), (10,), 3, make_optimizer=adamw)
    assert (found.weights, found.gradients, found.optimizer, found.images) == (176, 176, 352, 120)
    assert found.saved == 4 * 12 + 8 * 3 + 4
    assert found.inference == 176 + 120 + 4 * 12
    assert found.activations == 4 * 12
    # at AdamW's step: weights, gradients, state, images, the root of 40 squares and its quotient, and a few numbers
    assert 0 <= found.training - (2 * 176 + 352 + 120 + 2 * 160) <= 16
    assert measure_memory(nn.Linear(10, 4), (10,), 3).optimizer == 0


# Half precision where a normalisation keeps statistics of another type, and where heads of training branch off.
SAVED: list[Any] = [
    *((*network, "float32") for network in NETWORKS),
    ("resnet20", 32, 2, "bf16"), ("convnextv2_atto_small", 32, 2, "bf16"),
    pytest.param("googlenet_small", 32, 2, "bf16", marks=pytest.mark.slow),  # seconds on a processor without bf16
]  # fmt: skip


# scope: the tests of one network stand together, so that it is measured once
@pytest.mark.parametrize(("name", "side", "batch", "precision"), SAVED, scope="module")
def test_what_is_saved_equals_a_real_step_to_the_byte(name: str, side: int, batch: int, precision: Any) -> None:
    model, images = real(name, side, batch)
    own = {value.untyped_storage().data_ptr() for value in (*model.parameters(), *model.buffers(), images)}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor.detach()

    half = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), half:
        loss = loss_of(model, images)
    assert loss.isfinite()
    expected = sum(size for pointer, size in kept.items() if pointer not in own)
    assert measured(name, side, batch, precision).saved == expected


@pytest.mark.parametrize(
    ("name", "side", "batch", "precision"),
    [*SAVED[: len(NETWORKS)], pytest.param("resnet20", 32, 32, "bf16", marks=pytest.mark.slow)],
    scope="module",
)
def test_peak_of_training_is_the_profilers_within_five_per_cent(
    name: str, side: int, batch: int, precision: Any
) -> None:
    model, images = real(name, side, batch)
    optimizer = momentum(model)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = loss_of(model, images)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        step()
    ours = measured(name, side, batch, precision)
    assert peak_of(found) + ours.weights + ours.optimizer + ours.images == pytest.approx(ours.training, rel=0.05)


@pytest.mark.parametrize("name", ["vgg11_small", "lenet5_relu", "convnextv2_atto_small"])
def test_inference_in_half_precision_holds_what_a_real_pass_does(name: str) -> None:
    """Autocast keeps the weights' copies to the end, two bytes each. Kernels' own workspace, no tensor, is left out."""
    model, images = real(name, 28, 8)
    model.eval()
    ledger = _Ledger([*model.parameters(), *model.buffers(), images])
    with torch.no_grad(), ledger, torch.autocast("cpu", torch.bfloat16):
        model(images)
    assert measure_memory(model, images.shape[1:], 8, precision="bf16").inference == ledger.peak
    stored = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers(), images))
    copies = sum(2 * one.numel() for one in model.parameters() if one.ndim > 1 and one.shape[1:].numel() > 1)
    assert ledger.peak > stored + copies


def peak_of(found: profile) -> int:
    """The most bytes that were held at once, of those taken while the profiler looked, whenever an operator had ended.

    What a kernel takes and gives back while it works is no tensor, and differs from processor to processor: oneDNN's
    weight gradient takes four times the weights with AVX2, and nothing with AVX-512.
    """
    events: list[Any] = list(found.profiler.kineto_results.events())  # type: ignore[union-attr]
    moments = [(event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"]
    end = 0
    for event in sorted(events, key=lambda event: (event.start_ns(), -event.duration_ns())):
        if event.name().startswith("aten::") and event.start_ns() >= end:  # in no other operator
            end = event.start_ns() + event.duration_ns()
            moments.append((end, 0))
    held = peak = 0
    for _, size in sorted(moments):
        held += size
        peak = max(peak, held if size == 0 else 0)
    return peak


def test_what_is_frozen_has_no_gradient_and_the_model_stays_as_it_was() -> None:
    model = build("resnet20").eval()
    model.stem.requires_grad_(False)
    trained = sum(4 * p.numel() for p in model.parameters() if p.requires_grad)
    found = measure_memory(model, (3, 32, 32), 2, make_optimizer=lambda twin: momentum(twin))
    assert (found.gradients, found.optimizer) == (trained, trained)
    assert not model.training
    assert all(p.grad is None and p.device.type == "cpu" for p in model.parameters())
    assert [p.requires_grad for p in model.stem.parameters()] == [False] * 3


@pytest.mark.parametrize("name", ["sgd", "adagrad", "rmsprop", "rmsprop_tf", "adam", "adamw"])
def test_every_optimisers_state_is_counted(name: Any) -> None:
    """Oracle: how many numbers a weight the forecast of a run takes."""
    model, config = build("lenet5_relu"), OptimizerConfig(name=name)
    found = measure_memory(model, (1, 28, 28), 2, make_optimizer=lambda twin: make_optimizer(twin, config))
    assert found.optimizer == state_copies(config, 10) * found.gradients


def test_measuring_is_the_same_every_time_leaves_no_copy_and_no_number_drawn() -> None:
    model, before = build("stochdepth_resnet_20"), torch.get_rng_state()
    first, second = (measure_memory(model, (3, 32, 32), 4) for _ in range(2))
    assert first == second
    assert first.gradients == sum(4 * p.numel() for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), before)
    gc.collect()
    assert [one for one in gc.get_objects() if type(one) is ResNet and one is not model] == []


@pytest.mark.parametrize("train", [True, False])
def test_largest_batch_fits_and_one_more_does_not(train: bool) -> None:
    model, limit = build("resnet20"), 50_000_000

    def held(batch: int) -> int:
        found = measure_memory(model, (3, 32, 32), batch)
        return found.training if train else found.inference

    batch = largest_batch(model, (3, 32, 32), limit, train=train)
    assert held(batch) <= limit < held(batch + 1)
    assert largest_batch(model, (3, 32, 32), 1_000_000, train=train) == 0


def test_a_batch_norm_that_would_see_one_number_is_told() -> None:
    model = build("lenet5_dense_bn")
    assert largest_batch(model, (1, 28, 28), 10_000_000) > 2
    assert largest_batch(model, (1, 28, 28), 100_000) == 0
    with pytest.raises(UsageError, match="1 image at once"):
        measure_memory(model, (1, 28, 28), 1)


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot measure memory"):
        measure_memory(nn.Linear(2, 2), (2,), 0)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["resnet20", "--memory", "--batch", "16"], 0, "kept for backward"),
        (["resnet20", "--memory", "--within", "20 mb"], 0, "largest batch within 20 mb: "),
        (["resnet20", "--memory", "--within", "3 pounds"], 2, "no amount of memory"),
        (["resnet20", "--memory", "--within", "0.5"], 2, "no amount of memory"),
        (["resnet20", "--within", "8GB"], 2, "are for --memory"),
        (["--spec", "8x8x3: fc10", "--memory"], 2, "six answers"),
        (["--spec", "8x8x3: fc10", "--size", "8"], 2, "are for a model"),
        (["resnet20", "--memory", "--batch", "0"], 2, "a batch has images"),
    ],
)
def test_command_line(words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["cost", *words])
    printed = capsys.readouterr()
    assert caught.value.code == code
    assert said in printed.out + printed.err
