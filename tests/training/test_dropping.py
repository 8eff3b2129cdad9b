"""Drop path and dropout over a run. Oracle: the share of images whose branch is dropped."""

import pytest
import torch
from torch import nn

from lenext.errors import UsageError
from lenext.models.catalog import build
from lenext.models.parts import DropPath
from lenext.training.config import TrainingConfig
from lenext.training.dropping import scale_drop_path, set_dropout

from .pieces import batches, make_state, run_steps

RISING = TrainingConfig(drop_path="rising")


def dropped(path: DropPath) -> float:
    torch.manual_seed(0)
    return float((path(torch.ones(20_000, 1)) == 0).float().mean())


@pytest.mark.parametrize(("step", "expected"), [(0, 0.0), (25, 0.1), (50, 0.2), (100, 0.4)])
def test_rising_drop_path_drops_the_share_of_the_run_that_is_done(step: int, expected: float) -> None:
    path = DropPath(0.4)
    scale_drop_path(path, RISING, step, 100)
    assert dropped(path) == pytest.approx(expected, abs=0.01)
    torch.manual_seed(0)
    assert float(path(torch.ones(20_000, 1)).mean()) == pytest.approx(1.0, abs=0.02)


def test_constant_drop_path_stays_the_networks_own() -> None:
    path = DropPath(0.4)
    scale_drop_path(path, TrainingConfig(), 10, 100)
    assert dropped(path) == pytest.approx(0.4, abs=0.01)


def test_the_loop_raises_it_update_by_update() -> None:
    state, path = make_state(), DropPath(0.5)
    state.objective.classifier.stages.append(path)
    shares = []
    for batch in batches(3):
        run_steps(state, [batch], RISING, total=4)
        shares.append(path.share)
    assert shares == [0.0, 0.25, 0.5]


def test_dropout_of_the_head_is_set_and_of_nothing_else() -> None:
    network = build("efficientnet_b0_small", num_classes=10)
    network.stages.append(nn.Dropout(0.25))
    set_dropout(network, 0.125)
    rates = {name: module.p for name, module in network.named_modules() if isinstance(module, nn.Dropout)}
    assert {rate for name, rate in rates.items() if name.startswith("head")} == {0.125}
    assert [rate for name, rate in rates.items() if name.startswith("stages")] == [0.25]


def test_head_without_dropout_is_refused() -> None:
    with pytest.raises(UsageError, match="dropout of the head"):
        set_dropout(build("resnet20"), 0.1)
