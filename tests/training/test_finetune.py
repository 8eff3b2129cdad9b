"""Beginning from other weights, freezing, rates by place, averaging: against arithmetic and torch's own operators."""

import copy

import pytest
import torch
from torch import nn

from lenext.errors import UsageError, WeightsError
from lenext.models.catalog import build
from lenext.models.classifier import Classifier
from lenext.training.config import OptimizerConfig, TrainingConfig
from lenext.training.finetune import adopt, freeze, set_training_mode
from lenext.training.loop import follow
from lenext.training.optim import make_optimizer, set_rate

from .pieces import batches, make_state, resnet20, run_steps


def network(num_classes: int = 10, model: str = "resnet20") -> Classifier:
    torch.manual_seed(num_classes)
    return build(model, num_classes=num_classes, in_channels=1)


def test_all_but_the_last_layer_is_taken_over_for_other_classes() -> None:
    old, new = network(10), network(3)
    before = copy.deepcopy(new.state_dict())
    fresh = adopt(new, old.state_dict(), keep_head=False)
    assert fresh == ["head.fc.bias", "head.fc.weight"]
    for name, value in new.state_dict().items():
        source = before if name in fresh else old.state_dict()
        assert torch.equal(value, source[name]), name


def test_only_the_last_layer_of_a_deep_head_is_fresh() -> None:
    old, new = network(10, "vgg11_small"), network(3, "vgg11_small")
    fresh = adopt(new, old.state_dict(), keep_head=False)
    changed = {name for name in old.state_dict() if old.state_dict()[name].shape != new.state_dict()[name].shape}
    assert set(fresh) == changed


def test_the_head_is_kept_for_the_same_classes() -> None:
    old, new = network(10), network(10)
    nn.init.zeros_(next(new.head.parameters()))
    assert adopt(new, old.state_dict(), keep_head=True) == []
    assert all(torch.equal(value, old.state_dict()[name]) for name, value in new.state_dict().items())


@pytest.mark.parametrize("model", ["resnet32", "vgg11_small"])
def test_weights_of_another_network_are_refused_by_name(model: str) -> None:
    with pytest.raises(WeightsError, match="cannot take over") as caught:
        adopt(network(), network(10, model).state_dict(), keep_head=True)
    assert "here and" in caught.value.why


def test_frozen_places_do_not_move_and_their_norms_do_not_learn() -> None:
    places = ("stem", "stages.conv2_x")
    state = make_state(resnet20())
    freeze(state.objective.classifier, places)
    state.optimizer = make_optimizer(state.objective.classifier, OptimizerConfig(rate=0.1, momentum=0.9, decay=0.1))
    before = copy.deepcopy(state.objective.classifier.state_dict())
    run_steps(state, batches(3), TrainingConfig(freeze=places, batch_size=48))
    for name, value in state.objective.classifier.state_dict().items():
        frozen = name.startswith(places)
        if frozen or value.is_floating_point():
            assert torch.equal(value, before[name]) == frozen, name


def test_everything_else_is_in_training_mode() -> None:
    classifier = network()
    set_training_mode(classifier, classifier, ("stages.conv3_x",))
    for name, module in classifier.named_modules():
        assert module.training != name.startswith("stages.conv3_x"), name


def test_unknown_place_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'stages.conv2_x'"):
        freeze(network(), ["stages.conv2x"])
    with pytest.raises(UsageError, match="unknown place 'heads'"):
        make_optimizer(network(), OptimizerConfig(rates={"heads": 2.0}))


def test_a_wholly_frozen_network_is_refused() -> None:
    with pytest.raises(UsageError, match="every parameter is frozen"):
        freeze(network(), ["stem", "stages", "head"])


@pytest.mark.parametrize("decay_on", ["all", "weights"])
def test_rate_of_a_parameter_is_that_of_the_longest_place_that_fits(decay_on: str) -> None:
    model = network()
    rates = {"stages": 0.1, "stages.conv3_x": 0.5, "head": 10.0}
    config = OptimizerConfig(rate=0.2, rates=rates, decay=0.01, decay_on=decay_on)  # type: ignore[arg-type]
    optimizer = make_optimizer(model, config)
    set_rate(optimizer, 0.4)
    found = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        factor = 10.0 if name.startswith("head") else 0.5 if "conv3_x" in name else 0.1 if "stages" in name else 1.0
        assert found[id(parameter)] == pytest.approx(0.4 * factor), name


def test_average_is_the_sum_by_hand() -> None:
    average, trained = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    expected = 1.0  # of the weight, which begins at one
    for step, value in enumerate((3.0, 5.0, -2.0)):
        nn.init.constant_(trained.weight, value)
        trained.get_buffer("num_batches_tracked").fill_(step + 7)
        follow(average, trained, 0.5, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert average.weight.item() == pytest.approx(expected, rel=1e-6)
        assert average.get_buffer("num_batches_tracked").item() == step + 7
    assert trained.weight.item() == -2.0


def test_average_of_a_constant_is_the_constant() -> None:
    average, trained = network(), network()
    for step in range(3):
        follow(average, trained, 0.999, step)
    for name, value in average.state_dict().items():
        torch.testing.assert_close(value, trained.state_dict()[name], msg=name)


def test_auxiliary_heads_of_other_classes_are_made_new() -> None:
    seven, three = build("googlenet", num_classes=7), build("googlenet", num_classes=3)
    fresh = adopt(three, seven.state_dict(), keep_head=False)
    layers = ("auxiliary.4a.fc2", "auxiliary.4d.fc2", "head.fc")
    assert fresh == sorted(f"{layer}.{tensor}" for layer in layers for tensor in ("weight", "bias"))
    assert torch.equal(three.state_dict()["auxiliary.4a.fc1.weight"], seven.state_dict()["auxiliary.4a.fc1.weight"])
