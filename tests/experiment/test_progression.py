"""Progressive learning in a run: what the network is shown, epoch by epoch, and that a resumed run is shown the same.

Oracles: Table 6 of Tan & Le 2021 by hand; the tensors that reach the network; the run trained at one go.
"""

import os
import signal
from pathlib import Path

import pytest
from torch import Tensor, nn

from lenext.errors import InterruptedRunError, UsageError
from lenext.experiment.progression import adjust_network, mean_area, parts_in
from lenext.experiment.resuming import resume
from lenext.experiment.session import Session
from lenext.training.loop import Step

from .pieces import begin, copy, finish, result

GROWING = [
    "training.optimizer.rate=0.02",
    "training.progression.stages=3",
    "training.progression.size=[0.5,1.0]",
    "training.progression.strength=[1,9]",
    "training.progression.mixup=[0,0.2]",
    "augment.randaugment=[2,5]",
    "data.validation=1300",
]
EACH = 2  # updates of an epoch: 137 images in batches of 48
LBFGS = [
    "training.optimizer.name=lbfgs", "training.optimizer.rate=1", "training.optimizer.iterations=2",
    "training.optimizer.decay=0", "training.optimizer.history=3", "training.batch_size=60", "data.validation=1300",
    "training.schedule.name=constant",
]  # fmt: skip


def interrupted(base: Path, to: Path, after: int) -> Path:
    """A copy of the run, stopped after so many updates."""
    session = resume(copy(base, to))
    with pytest.raises(InterruptedRunError):
        for record in session.records():
            if isinstance(record, Step) and record.step == after:
                os.kill(os.getpid(), signal.SIGINT)
    return to


def sides(session: Session) -> list[int]:
    """Note the side of the images that reach the network in training, batch by batch."""
    seen: list[int] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if module.training:
            seen.append(inputs[0].shape[-1])

    session.state.objective.classifier.register_forward_pre_hook(note)
    return seen


def test_each_stage_has_its_size_and_a_resumed_run_the_same_bits(tmp_path: Path) -> None:
    two = ["training.epochs=2", "training.progression.stages=2"]
    base = begin(tmp_path / "run", *GROWING, *two, size=16).run
    stopped = interrupted(base, tmp_path / "stopped", EACH + 1)
    whole, again = resume(base), resume(stopped)
    seen, later = sides(whole), sides(again)
    finish(whole)
    finish(again)
    assert seen == [8] * EACH + [16] * EACH
    assert later == [16] * (EACH - 1)
    assert result(stopped) == result(base)


def test_forecast_counts_the_area_of_every_epoch(tmp_path: Path) -> None:
    """By hand: sides of 8, 12 and 16 of 16 are 1/4, 9/16 and 1 of the area."""
    growing = begin(tmp_path / "growing", *GROWING, size=16).experiment
    assert mean_area(growing) == pytest.approx((1 / 4 + 9 / 16 + 1) / 3)
    assert mean_area(begin(tmp_path / "still").experiment) == 1


def test_variation_grows_and_validation_stays(tmp_path: Path) -> None:
    session = begin(tmp_path / "run", *GROWING, size=16)
    shown = [parts_in(epoch, session.experiment, session.parts) for epoch in range(3)]
    assert [parts.preprocessing.size for parts in shown] == [(8, 8), (12, 12), (16, 16)]
    assert [parts.variation.config.randaugment for parts in shown] == [(2, 1), (2, 5), (2, 9)]
    assert [parts.variation.config.mixup for parts in shown] == pytest.approx([0.0, 0.1, 0.2])
    assert session.parts.preprocessing.size == (16, 16)


def test_each_epoch_gives_the_head_its_dropout(tmp_path: Path) -> None:
    """And the run does so by itself, before the first update of each epoch."""
    told = ["training.progression={stages=3,dropout=[0.1,0.3]}"]
    session = begin(tmp_path / "run", *told, *GROWING[-1:], model="efficientnet_b0_small", size=8)
    classifier = session.state.objective.classifier
    dropout = next(module for module in classifier.head.modules() if isinstance(module, nn.Dropout))
    rates = []
    for epoch in range(3):
        adjust_network(epoch, session.experiment, classifier)
        rates.append(dropout.p)
    assert rates == pytest.approx([0.1, 0.2, 0.3])
    next(session.records())
    assert dropout.p == pytest.approx(0.1)


def test_a_run_that_nothing_grows_in_sees_what_it_was_told(tmp_path: Path) -> None:
    session = begin(tmp_path / "run")
    assert parts_in(2, session.experiment, session.parts) == session.parts


@pytest.mark.parametrize(
    ("model", "settings", "match"),
    [
        ("resnet20", ["training.progression.dropout=[0.1,0.3]"], "dropout of the head"),
        ("resnet20", ["training.progression.strength=[1,9]"], "strength of RandAugment"),
        ("lenet5", ["training.progression={stages=2,size=[0.5,1.0]}"], "images of 16 x 16"),
    ],
)
def test_what_cannot_grow_is_refused_before_anything_is_written(
    tmp_path: Path, model: str, settings: list[str], match: str
) -> None:
    with pytest.raises(UsageError, match=match):
        begin(tmp_path / "run", *settings, model=model)
    assert not (tmp_path / "run").exists()


def test_lbfgs_goes_on_where_it_stood_to_the_same_bits(tmp_path: Path) -> None:
    """Its curvature goes through the checkpoint: six updates in all, stopped after the third."""
    base = begin(tmp_path / "run", *LBFGS).run
    stopped = interrupted(base, tmp_path / "stopped", 3)
    finish(resume(base))
    finish(resume(stopped))
    assert result(stopped) == result(base)
    assert any(name.startswith("old_dirs/") for name in result(base)["last"][2])
