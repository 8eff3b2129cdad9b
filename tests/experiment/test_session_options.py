"""What a session makes of averages, balance, patience and a number of updates. Oracles: arithmetic on its own steps."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import lenext
from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.data.arrays import Arrays, from_arrays
from lenext.data.ordering import epoch_order
from lenext.data.published import open_published
from lenext.errors import DivergedError
from lenext.experiment.resuming import resume
from lenext.experiment.session import Epoch
from lenext.training.loop import Step

from .photos import begin_on
from .pieces import begin, bits, finish, metrics, step_of

SHORT = ["training.batch_size=20", "training.accumulate=1", "training.optimizer.rate=0.05"]  # 6 updates an epoch
ONE_CYCLE = "training.schedule.name=one_cycle"


def uneven() -> Arrays:
    """Digits of which 90 are ones, 20 twos and 10 threes, divided as they are."""
    store = open_published("digits").open("train")
    rows = np.concatenate([np.flatnonzero(store.labels == k)[:n] for k, n in ((1, 90), (2, 20), (3, 10))])
    images, labels = store.images[:, 0].numpy(), store.labels
    held = np.concatenate([np.flatnonzero(labels == k)[-20:] for k in (1, 2, 3)])
    return from_arrays(
        images[rows],
        labels[rows] - 1,
        ("one", "two", "three"),
        validation=(images[held], labels[held] - 1),
        mirror=False,
    )


def state_of(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in tensors.items()}


def test_best_and_last_hold_the_average_and_beside_it_the_trained_weights(tmp_path: Path) -> None:
    """By hand: begin at the first weights; update t keeps d of the average, d = min(0.9, (1 + t) / (10 + t))."""
    session = begin_on(uneven(), tmp_path / "run", *SHORT, "training.average=0.9", "training.epochs=1")
    trained = session.state.objective.classifier
    expected = {name: value.double() for name, value in state_of(trained.state_dict()).items()}
    steps: list[int] = []

    def follow_by_hand(record: Step | Epoch) -> None:
        if isinstance(record, Step):
            decay = min(0.9, record.step / (9 + record.step))
            for name, value in trained.state_dict().items():
                expected[name] = decay * expected[name] + (1 - decay) * value.double()
            steps.append(record.step)

    finish(session, follow_by_hand)
    assert steps == [1, 2, 3, 4, 5, 6]
    for part in ("best", "last"):
        loaded = checkpoints.load(session.run / part)
        for name, value in loaded.weights.items():
            if value.is_floating_point():
                torch.testing.assert_close(value.double(), expected[name], atol=1e-5, rtol=1e-4, msg=name)
        found = {n.removeprefix("trained/"): v for n, v in loaded.optimizer.items() if n.startswith("trained/")}
        assert bits(found) == bits(trained.state_dict())
    assert bits(lenext.load(session.run).state_dict()) == bits(checkpoints.load(session.run / "best").weights)


def test_it_is_the_average_that_is_judged_while_training(tmp_path: Path) -> None:
    run = finish(begin_on(uneven(), tmp_path / "run", *SHORT, "training.average=0.99", "training.epochs=1"))
    found = lenext.evaluate(run, "validation", source=uneven())
    line = metrics(run)[-1]
    assert (found.score, found.nll) == (line["validation_score"], line["validation_loss"])


def test_an_average_of_nothing_is_no_average(tmp_path: Path) -> None:
    loaded = checkpoints.load(begin_on(uneven(), tmp_path / "run", *SHORT).run / "last")
    assert not any(name.startswith("trained/") for name in loaded.optimizer)


# --- how long ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "ends"), [(4, [4]), (6, [6]), (15, [6, 12, 15])])
def test_a_number_of_updates_ends_within_an_epoch_which_is_judged(tmp_path: Path, steps: int, ends: list[int]) -> None:
    run = finish(begin_on(uneven(), tmp_path / "run", *SHORT, f"training.steps={steps}", "training.epochs=1"))
    lines = metrics(run)
    assert [line["step"] for line in lines] == ends
    assert all("validation_score" in line for line in lines)
    assert step_of(run) == steps
    index = runs.load_run(run)
    assert index["status"] == "finished"
    assert "stopped_early" not in index
    assert list(resume(run, source=uneven()).records()) == []


def test_the_rate_falls_to_its_end_by_the_last_of_the_updates(tmp_path: Path) -> None:
    rates: list[float] = []
    session = begin_on(uneven(), tmp_path / "run", *SHORT, ONE_CYCLE, "training.steps=9", "training.schedule.end=0")
    finish(session, lambda record: rates.append(record.rate) if isinstance(record, Step) else None)
    assert len(rates) == 9
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert max(rates) == pytest.approx(0.05, rel=0.05)


def test_patience_ends_a_run_that_does_not_get_better_and_the_index_says_so(tmp_path: Path) -> None:
    """At a rate of zero nothing but the norms' statistics moves: two epochs after the best one it is over."""
    settings = [*SHORT, "training.epochs=50", "training.patience=2", "training.optimizer.rate=0"]
    run = finish(begin_on(uneven(), tmp_path / "run", *settings))
    scores = [line["validation_score"] for line in metrics(run)]
    best = scores.index(max(scores))
    assert len(scores) == best + 1 + 2 < 50
    index = runs.load_run(run)
    assert (index["status"], index["stopped_early"], index["chosen"]) == ("finished", True, "best")
    assert checkpoints.load(run / "best").card.epoch == best + 1
    assert list(resume(run, source=uneven()).records()) == []


# --- balance ----------------------------------------------------------------------------------------------------------


def test_balanced_sampling_shows_every_class_equally_often(tmp_path: Path) -> None:
    """Counted in the targets of the objective's own forward passes."""
    settings = ["training.batch_size=12", "training.accumulate=1", "training.epochs=1"]
    shown = {}
    for sampling in ("uniform", "balanced"):
        session = begin_on(uneven(), tmp_path / sampling, *settings, f"training.sampling={sampling}")
        seen: list[Tensor] = []
        handle = session.state.objective.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[1]))
        finish(session)
        handle.remove()
        shown[sampling] = torch.bincount(torch.cat(seen)).tolist()
    assert shown == {"uniform": [90, 20, 10], "balanced": [40, 40, 40]}


def test_weights_of_the_classes_are_those_of_the_training_part(tmp_path: Path) -> None:
    session = begin_on(uneven(), tmp_path / "run", "training.loss.class_weights=balanced", "training.batch_size=12")
    found = session.state.objective.get_buffer("weights")
    assert found.tolist() == pytest.approx([120 / (3 * n) for n in (90, 20, 10)])
    again = resume(session.run, source=uneven()).state.objective.get_buffer("weights")
    assert torch.equal(again, found)


def test_an_epochs_order_is_balanced_anew_each_time() -> None:
    store = uneven().open("train")
    first, second = (epoch_order(store, seed=0, epoch=epoch, balanced=True) for epoch in (0, 1))
    ones = [set((order % len(store))[store.labels[order % len(store)] == 0].tolist()) for order in (first, second)]
    assert len(ones[0]) == len(ones[1]) == 40
    assert ones[0] != ones[1]


# --- the end of what can be trained -----------------------------------------------------------------------------------


def test_weights_that_are_no_numbers_are_never_saved(tmp_path: Path) -> None:
    """The last update overflows, and nobody judges the network: the run has diverged and has not finished."""
    told = ["data.validation=0", "training.schedule.name=constant", "training.schedule.warmup=0",
            "training.optimizer.decay=100", "training.optimizer.rate=3e38", "training.batch_size=100",
            "training.steps=1"]  # fmt: skip
    run = begin(tmp_path / "run", *told).run
    with pytest.raises(DivergedError):
        finish(resume(run))
    for part in ("best", "last"):
        assert all(torch.isfinite(value).all() for value in checkpoints.load(run / part).weights.values())
