"""Update rules. Oracle: the papers' formulas written out in float64, three steps of given gradients."""

import copy
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from lenext.config import from_mapping
from lenext.errors import UsageError
from lenext.rng import seed_network
from lenext.training.config import OptimizerConfig, TrainingConfig
from lenext.training.optim import (
    follow_parameters,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    set_rate,
    state_copies,
)

from .pieces import batches, make_state, resnet20, run_steps, same_bits, tensors

RATES = (0.1, 0.1, 0.05)
Array = npt.NDArray[np.float64]


class Pair(nn.Module):
    """A weight and a bias in float64."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 2, generator=generator, dtype=torch.float64))
        self.bias = nn.Parameter(torch.randn(3, generator=generator, dtype=torch.float64))


def gradients(step: int) -> dict[str, Array]:
    generator = np.random.default_rng(step)
    return {"weight": generator.normal(size=(3, 2)), "bias": generator.normal(size=3)}


def train(config: OptimizerConfig) -> dict[str, Array]:
    """Three updates by the optimiser of the configuration."""
    pair = Pair()
    optimizer = make_optimizer(pair, config)
    for step, rate in enumerate(RATES):
        set_rate(optimizer, rate)
        for name, value in gradients(step).items():
            getattr(pair, name).grad = torch.from_numpy(value)
        optimizer.step()
    return {name: value.detach().numpy() for name, value in pair.named_parameters()}


def sgd_by_hand(config: OptimizerConfig) -> dict[str, Array]:
    """v = momentum v + g + decay w; w -= rate v, or rate (g + decay w + momentum v) with Nesterov's look ahead."""
    pair = {name: value.detach().numpy().copy() for name, value in Pair().named_parameters()}
    for name, w in pair.items():
        decay = config.decay if config.decay_on == "all" or name == "weight" else 0.0
        velocity = np.zeros_like(w)
        for step, rate in enumerate(RATES):
            g = gradients(step)[name] + decay * w
            velocity = config.momentum * velocity + g
            w -= rate * (g + config.momentum * velocity if config.nesterov else velocity)
    return pair


def adamw_by_hand(config: OptimizerConfig) -> dict[str, Array]:
    """Loshchilov & Hutter 2017, algorithm 2, with the decay scaled by the rate as every library has it."""
    pair = {name: value.detach().numpy().copy() for name, value in Pair().named_parameters()}
    one, two = config.betas
    for name, w in pair.items():
        decay = config.decay if config.decay_on == "all" or name == "weight" else 0.0
        mean, square = np.zeros_like(w), np.zeros_like(w)
        for step, rate in enumerate(RATES):
            g = gradients(step)[name]
            mean = one * mean + (1 - one) * g
            square = two * square + (1 - two) * g**2
            mean_hat, square_hat = mean / (1 - one ** (step + 1)), square / (1 - two ** (step + 1))
            w *= 1 - rate * decay
            w -= rate * mean_hat / (np.sqrt(square_hat) + config.eps)
    return pair


def rmsprop_tf_by_hand(config: OptimizerConfig) -> dict[str, Array]:
    """TensorFlow's ApplyRMSProp: its mean of squares begins at 1, eps is in the root, the rate in the velocity."""
    pair = {name: value.detach().numpy().copy() for name, value in Pair().named_parameters()}
    for name, w in pair.items():
        decay = config.decay if config.decay_on == "all" or name == "weight" else 0.0
        mean, velocity = np.ones_like(w), np.zeros_like(w)
        for step, rate in enumerate(RATES):
            g = gradients(step)[name] + decay * w
            mean = config.alpha * mean + (1 - config.alpha) * g**2
            velocity = config.momentum * velocity + rate * g / np.sqrt(mean + config.eps)
            w -= velocity
    return pair


def with_torchs_own(config: OptimizerConfig) -> dict[str, Array]:
    """The same updates by torch's class, a parameter of each decay in a group of its own."""
    pair = Pair()
    decays = [config.decay, config.decay if config.decay_on == "all" else 0.0]
    groups = [{"params": [p], "weight_decay": d} for p, d in zip((pair.weight, pair.bias), decays, strict=True)]
    peer: torch.optim.Optimizer
    if config.name == "adagrad":
        peer = torch.optim.Adagrad(groups, eps=config.eps)
    elif config.name == "rmsprop":
        peer = torch.optim.RMSprop(groups, alpha=config.alpha, eps=config.eps, momentum=config.momentum)
    else:
        peer = torch.optim.Adam(groups, betas=(config.betas[0], config.betas[1]), eps=config.eps)
    for step, rate in enumerate(RATES):
        for group in peer.param_groups:
            group["lr"] = rate
        for name, value in gradients(step).items():
            getattr(pair, name).grad = torch.from_numpy(value)
        peer.step()
    return {name: value.detach().numpy() for name, value in pair.named_parameters()}


def assert_same(found: dict[str, Array], expected: dict[str, Array]) -> None:
    for name in ("weight", "bias"):
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-14)


@pytest.mark.parametrize("decay_on", ["all", "weights"])
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_by_hand(momentum: float, nesterov: bool, decay: float, decay_on: str) -> None:
    config = OptimizerConfig(momentum=momentum, nesterov=nesterov, decay=decay, decay_on=decay_on)  # type: ignore[arg-type]
    assert_same(train(config), sgd_by_hand(config))


@pytest.mark.parametrize("decay_on", ["all", "weights"])
@pytest.mark.parametrize(("betas", "eps"), [((0.9, 0.999), 1e-8), ((0.5, 0.7), 0.1)])
def test_adamw_by_its_formula(betas: tuple[float, float], eps: float, decay_on: str) -> None:
    config = OptimizerConfig(name="adamw", betas=betas, eps=eps, decay=0.3, decay_on=decay_on)  # type: ignore[arg-type]
    assert_same(train(config), adamw_by_hand(config))


@pytest.mark.parametrize("decay_on", ["all", "weights"])
@pytest.mark.parametrize(("alpha", "eps", "momentum"), [(0.9, 1.0, 0.9), (0.5, 1e-3, 0.0), (0.99, 0.1, 0.5)])
def test_rmsprop_of_tensorflow_by_its_formula(alpha: float, eps: float, momentum: float, decay_on: str) -> None:
    told: dict[str, Any] = {"alpha": alpha, "eps": eps, "momentum": momentum, "decay": 0.3, "decay_on": decay_on}
    config = OptimizerConfig(name="rmsprop_tf", **told)
    assert_same(train(config), rmsprop_tf_by_hand(config))


def test_the_two_kinds_of_rmsprop_differ_where_eps_is_large() -> None:
    told: dict[str, Any] = {"alpha": 0.9, "eps": 1.0, "momentum": 0.9}
    one, other = (train(OptimizerConfig(name=name, **told)) for name in ("rmsprop", "rmsprop_tf"))
    assert np.abs(one["weight"] - other["weight"]).max() > 1e-2


@pytest.mark.parametrize("decay_on", ["all", "weights"])
@pytest.mark.parametrize("name", ["adagrad", "rmsprop", "adam"])
def test_what_torch_has_is_torchs(name: str, decay_on: str) -> None:
    told: dict[str, Any] = {"alpha": 0.8, "eps": 1e-2, "momentum": 0.7, "betas": (0.8, 0.9), "decay": 0.3}
    config = OptimizerConfig(name=name, decay_on=decay_on, **told)  # type: ignore[arg-type]
    assert_same(train(config), with_torchs_own(config))
    assert np.abs(train(config)["weight"] - Pair().weight.detach().numpy()).max() > 1e-3


# --- L-BFGS and BFGS: oracle, the exact minimum of a quadratic form ---------------------------------------------------


def minimise(config: OptimizerConfig, updates: int) -> float:
    """The largest distance of a weight from the minimum of w A w / 2 - b w, of condition 1000, after the updates."""
    pair = Pair()
    generator = np.random.default_rng(0)
    turned, _ = np.linalg.qr(generator.normal(size=(9, 9)))
    form = torch.from_numpy(turned @ np.diag(np.logspace(0, 3, 9)) @ turned.T)
    slope = torch.from_numpy(generator.normal(size=9))
    optimizer = make_optimizer(pair, config)

    def look() -> float:
        optimizer.zero_grad()
        flat = torch.cat([pair.weight.flatten(), pair.bias])
        loss = flat @ form @ flat / 2 - slope @ flat
        loss.backward()
        return float(loss.detach())

    for _ in range(updates):
        optimizer.step(look)
    found = torch.cat([pair.weight.detach().flatten(), pair.bias.detach()])
    return float((found - torch.linalg.solve(form, slope)).abs().max())


def test_lbfgs_and_bfgs_find_the_minimum_that_linear_algebra_knows() -> None:
    """Nine unknowns: all curvature is known after nine pairs, where plain descent has hardly begun."""
    assert minimise(OptimizerConfig(name="bfgs", rate=1.0), 2) < 1e-5
    assert minimise(OptimizerConfig(name="lbfgs", rate=1.0), 2) < 1e-5
    assert minimise(OptimizerConfig(rate=1e-3, momentum=0.0), 40) > 1e-2


def test_bfgs_forgets_no_pair_and_lbfgs_the_oldest() -> None:
    short = OptimizerConfig(name="lbfgs", rate=1.0, history=3)
    pairs = []
    for config in (short, OptimizerConfig(name="bfgs", rate=1.0)):
        training = TrainingConfig(optimizer=config)
        state = make_state(optimizer=config)
        run_steps(state, batches(1), training)
        tensors_of = optimizer_tensors(state.optimizer, state.objective.classifier)
        pairs.append(len(tensors_of["old_dirs/stem.0.weight"]))
    assert pairs[0] == 3
    assert pairs[1] > 10


def test_an_update_of_lbfgs_is_torchs_own_on_the_same_batch_and_noise() -> None:
    """And it tells the loss of before its steps, and goes down on the batch that it saw."""
    config = OptimizerConfig(name="lbfgs", rate=0.5, iterations=7, history=5)
    state = make_state(optimizer=config)
    batch = batches(1)[0]
    step = run_steps(state, [batch], TrainingConfig(optimizer=config))[0]

    objective = make_state().objective.train()
    peer = torch.optim.LBFGS(objective.parameters(), lr=0.5, max_iter=7, history_size=5, line_search_fn="strong_wolfe")
    losses = []

    def look() -> float:
        peer.zero_grad()
        seed_network(0, 0)
        loss = objective(batch.images, batch.targets).loss
        loss.backward()
        losses.append(float(loss.detach()))
        return losses[-1]

    peer.step(look)
    assert same_bits(state.objective.state_dict(), objective.state_dict())
    assert step.loss == losses[0]
    assert losses[-1] < 0.5 * losses[0]


def test_a_copy_of_lbfgs_steps_as_the_original() -> None:
    """As the forecast copies it, to time it."""
    config = TrainingConfig(optimizer=OptimizerConfig(name="lbfgs", rate=0.5, iterations=3))
    state = make_state(optimizer=config.optimizer)
    twin = copy.deepcopy(state)
    for each in (state, twin):
        run_steps(each, batches(2), config)
    assert same_bits(state.objective.state_dict(), twin.objective.state_dict())


@pytest.mark.parametrize("name", ["lbfgs", "bfgs"])
@pytest.mark.parametrize("changes", [{"decay": 0.1}, {"rates": {"stem": 0.1}}])
def test_what_a_shared_curvature_cannot_have_is_refused(name: str, changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="optimizer") as caught:
        from_mapping(TrainingConfig, {"optimizer": {"name": name, **changes}}, "training")
    assert f"{name} " in caught.value.why


def test_decay_on_weights_spares_biases_and_norms() -> None:
    model = resnet20()
    optimizer = make_optimizer(model, OptimizerConfig(decay=0.5, decay_on="weights"))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decay) == len(list(model.parameters()))
    layers = dict(model.named_modules())
    for name, parameter in model.named_parameters():
        path, _, kind = name.rpartition(".")
        weight = kind == "weight" and isinstance(layers[path], nn.Conv2d | nn.Linear)
        assert decay[id(parameter)] == (0.5 if weight else 0.0), name


def test_frozen_parameters_are_left_out() -> None:
    model = resnet20()
    model.stem.requires_grad_(False)
    for decay_on in ("all", "weights"):
        optimizer = make_optimizer(model, OptimizerConfig(decay_on=decay_on))
        chosen = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert chosen == {id(p) for p in model.parameters() if p.requires_grad}


def test_rate_is_set_in_every_group() -> None:
    optimizer = make_optimizer(resnet20(), OptimizerConfig(decay=0.1, decay_on="weights"))
    set_rate(optimizer, 0.375)
    assert [group["lr"] for group in optimizer.param_groups] == [0.375, 0.375]


OPTIMIZERS = [
    OptimizerConfig(momentum=0.0),
    OptimizerConfig(nesterov=True, decay=1e-3, decay_on="weights"),
    OptimizerConfig(name="adamw", rate=1e-3, decay=0.1, decay_on="weights"),
    OptimizerConfig(name="adam", rate=1e-3, decay=0.1),
    OptimizerConfig(name="adagrad", rate=1e-2),
    OptimizerConfig(name="rmsprop", rate=1e-3),
    OptimizerConfig(name="rmsprop_tf", rate=1e-2, eps=1e-3),
    OptimizerConfig(name="lbfgs", rate=1.0, iterations=4, history=6),
    OptimizerConfig(name="lbfgs", rate=1.0, iterations=1),  # no pair before the second update
    OptimizerConfig(name="bfgs", rate=1.0, iterations=4),
]
NAMES = ["plain", "nesterov", *(config.name for config in OPTIMIZERS[2:-2]), "lbfgs without a pair", "bfgs"]


@pytest.mark.parametrize("config", OPTIMIZERS, ids=NAMES)
def test_state_goes_round_by_name_to_the_same_bits(config: OptimizerConfig) -> None:
    training = TrainingConfig(optimizer=config)
    data = batches(4)
    whole = make_state(optimizer=config)
    run_steps(whole, data[:2], training)
    saved = optimizer_tensors(whole.optimizer, whole.objective.classifier)
    weights = {name: value.clone() for name, value in whole.objective.state_dict().items()}
    saved = {name: value.clone() for name, value in saved.items()}
    run_steps(whole, data[2:], training)

    rebuilt = make_state(optimizer=config)
    rebuilt.objective.load_state_dict(weights)
    load_optimizer_tensors(rebuilt.optimizer, rebuilt.objective.classifier, saved)
    rebuilt.progress = type(rebuilt.progress)(step=2, batch=2)
    run_steps(rebuilt, data[2:], training)
    assert same_bits(tensors(rebuilt), tensors(whole))


@pytest.mark.parametrize("config", OPTIMIZERS, ids=NAMES)
def test_what_the_state_takes_is_what_the_forecast_counts(config: OptimizerConfig) -> None:
    """In numbers for each weight; of L-BFGS at most: its searches end sooner, and it also keeps where they begin."""
    state = make_state(optimizer=config)
    run_steps(state, batches(2), TrainingConfig(optimizer=config))
    kept = optimizer_tensors(state.optimizer, state.objective.classifier)
    weights = sum(parameter.numel() for parameter in state.objective.parameters())
    copies = round(sum(value.numel() for value in kept.values() if value.ndim > 0) / weights)
    counted = state_copies(config, 2)
    assert copies < counted <= copies + 6 if config.name in ("lbfgs", "bfgs") else copies == counted


def test_state_goes_where_the_parameters_go() -> None:
    """Adagrad has its sums from the beginning, where the parameters then were; "meta" stands for another device."""
    pair = Pair().to("meta")
    optimizer = make_optimizer(pair, OptimizerConfig(name="adagrad"))
    for parameter, state in optimizer.state.items():
        state["sum"] = torch.zeros(parameter.shape)
    follow_parameters(optimizer)
    assert [state["sum"].device.type for state in optimizer.state.values()] == ["meta", "meta"]


def test_state_is_named_by_buffer_and_parameter() -> None:
    state = make_state(optimizer=OptimizerConfig(name="adamw"))
    assert optimizer_tensors(state.optimizer, state.objective.classifier) == {}
    run_steps(state, batches(1))
    names = [name for name, _ in state.objective.classifier.named_parameters()]
    expected = {f"{buffer}/{name}" for buffer in ("step", "exp_avg", "exp_avg_sq") for name in names}
    assert set(optimizer_tensors(state.optimizer, state.objective.classifier)) == expected


def test_sgd_keeps_the_momentum_it_says() -> None:
    """After one step the buffer is the gradient: (w before - w after) / rate."""
    config = OptimizerConfig(rate=0.5, momentum=0.9)
    state = make_state(optimizer=config)
    before = {name: value.clone() for name, value in state.objective.classifier.named_parameters()}
    run_steps(state, batches(1), TrainingConfig(optimizer=config))
    buffers = optimizer_tensors(state.optimizer, state.objective.classifier)
    for name, after in state.objective.classifier.named_parameters():
        expected = (before[name] - after.detach()) / 0.5
        torch.testing.assert_close(buffers[f"momentum_buffer/{name}"], expected, rtol=0, atol=1e-5)
    assert not math.isclose(float(buffers["momentum_buffer/head.1.bias"].abs().sum()), 0, abs_tol=1e-3)
