"""The experiments of benchmarks/experiments: what they measure and decide; the quick form of each in `make slow`."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from benchmarks.experiments import ablations, gradient_norms
from benchmarks.experiments.common import Claim, epochs_to_training_error, training_error, validation_error
from benchmarks.experiments.identity_copy import deepen
from benchmarks.experiments.invariance import affine, noisy
from lenext.data.sources import find_source
from lenext.experiment.sweeping import Sweep, compose_variant
from lenext.models.catalog import build
from lenext.models.resnet import ResNet

EXPERIMENTS = sorted(
    path.stem
    for path in (Path(__file__).parent.parent / "benchmarks" / "experiments").glob("*.py")
    if path.stem not in ("common", "own_networks")
)


def test_verdict_is_reproduced_only_where_the_intervals_are_apart_the_right_way_round() -> None:
    groups = {"a": [1.0, 1.1, 0.9], "b": [2.0, 2.1, 1.9], "c": [1.0, 3.0, 2.0], "d": [5.0]}
    assert Claim("", "a", "b").verdict(groups).startswith("reproduced")
    assert Claim("", "b", "a").verdict(groups).startswith("contradicted")
    assert Claim("", "a", "c").verdict(groups).startswith("not shown at this scale")
    assert Claim("", "a", "d").verdict(groups).startswith("not shown")


def test_measures_of_a_run_by_hand(tmp_path: Path) -> None:
    lines = [{"train_accuracy": a, "validation_score": v} for a, v in ((0.5, 0.4), (0.7, 0.9), (0.9, 0.8))]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert epochs_to_training_error(tmp_path, 0.25) == pytest.approx(2.25)  # 30 % after two, 10 % after three
    assert epochs_to_training_error(tmp_path, 0.75) == pytest.approx(0.5)  # all wrong before the first
    assert epochs_to_training_error(tmp_path, 0.01) == 3
    assert training_error(tmp_path) == pytest.approx(0.1)
    assert validation_error(tmp_path) == pytest.approx(0.1)


def test_affine_shifts_down_turns_clockwise_and_shrinks() -> None:
    images = torch.arange(2 * 64, dtype=torch.uint8).reshape(2, 1, 8, 8)
    down = torch.zeros_like(images)
    down[:, :, 2:] = images[:, :, :-2]
    assert torch.equal(affine(images), images)
    assert torch.equal(affine(images, shift=0.25), down)
    assert torch.equal(affine(images, degrees=90), torch.rot90(images, -1, (2, 3)))
    small = affine(torch.full((1, 1, 8, 8), 255, dtype=torch.uint8), scale=0.5)
    assert small.count_nonzero() == 16
    assert small[0, 0, 2:6, 2:6].min() == 255


def test_noise_has_the_deviation_asked_for() -> None:
    changed = noisy(torch.full((100, 1, 28, 28), 128, dtype=torch.uint8), 0.1)
    assert changed.float().std() == pytest.approx(25.5, rel=0.01)


def test_copy_with_identity_blocks_is_the_same_function() -> None:
    torch.manual_seed(0)
    shallow = build("plain20", repeats=(1, 1, 1), num_classes=10, in_channels=1)
    assert isinstance(shallow, ResNet)
    images = torch.randn(16, 1, 8, 8)
    shallow(images)  # moves the running means
    deep = deepen(shallow.eval(), (3, 2, 4))
    torch.testing.assert_close(deep(images), shallow(images))
    assert sum(p.numel() for p in deep.parameters()) > sum(p.numel() for p in shallow.parameters())


def test_gradient_experiment_tells_and_draws(tmp_path: Path) -> None:
    verdicts = gradient_norms.main(["--quick", "--out", str(tmp_path)])
    assert verdicts[1] == "sigmoids lose more than ReLU: reproduced: intervals do not overlap"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "curves.svg", "figure.png", "figure.svg"]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_quick_form_ends_in_verdicts_and_figures(name: str, tmp_path: Path) -> None:
    verdicts = importlib.import_module(f"benchmarks.experiments.{name}").main(["--quick", "--out", str(tmp_path)])
    assert verdicts
    assert {path.suffix for path in tmp_path.glob("*.*")} == {".svg", ".png"}


def test_every_ablation_is_a_setting_that_can_be() -> None:
    """The quick form trains some of them only."""
    source = find_source("digits", "")
    for variants in ablations.ABLATIONS.values():
        named = {name: tuple(own) for name, own in variants.items()}
        sweep = Sweep(data="digits", settings=("training.epochs=1",), variants=named)
        found = [compose_variant(sweep, name, 0, source)[0] for name in named]
        assert len(set(map(repr, found))) >= 2  # the digits have no mirror images, and so none to leave out


def test_every_experiment_says_what_it_claims_after_whom_and_how_it_is_run() -> None:
    for name in EXPERIMENTS:
        told = importlib.import_module(f"benchmarks.experiments.{name}").__doc__
        assert told
        assert any(year in told for year in map(str, range(1998, 2030))), name
        assert f"python -m benchmarks.experiments.{name} [--quick]" in told
