"""docs/exercises.md: its trainings are those of benchmarks/exercises.sh, and every one of them can begin."""

import argparse
import re
import shlex
from pathlib import Path

import pytest

from lenext.data.sources import find_source
from lenext.experiment.config import with_epochs
from lenext.experiment.sweeping import Sweep, compose_variant, product
from lenext.models.catalog import fits

ROOT = Path(__file__).parent.parent
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def read_sweep(words: list[str]) -> Sweep:
    """The sweep that the words ask for, of any data."""
    parser = argparse.ArgumentParser()
    for name in ("model", "recipe"):
        parser.add_argument(f"--{name}", default="")
    for name in ("vary", "set"):
        parser.add_argument(f"--{name}", action="append", default=[])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    told = parser.parse_args(words)
    limit = next((s for s in told.set if s != "data.limit=5000"), "data.limit=5000")
    settings = (*with_epochs(told.epochs), limit)
    variants = product(told.vary)
    return Sweep(
        data="digits", model=told.model, recipe=told.recipe, settings=settings, variants=variants, seeds=told.seeds
    )


def shown() -> list[Sweep]:
    text = (ROOT / "docs" / "exercises.md").read_text(encoding="utf-8")
    lines = [" ".join(block.replace("\\\n", " ").split("\n")) for block in SHELL.findall(text)]
    return [read_sweep(shlex.split(line)[3:]) for line in lines]


def scripted() -> list[Sweep]:
    text = (ROOT / "benchmarks" / "exercises.sh").read_text(encoding="utf-8")
    return [read_sweep(shlex.split(line)[2:]) for line in text.splitlines() if line.startswith("sweep ")]


def test_trainings_shown_are_those_of_the_script() -> None:
    assert len(shown()) == 9
    assert sorted(map(str, shown())) == sorted(map(str, scripted()))


@pytest.mark.parametrize("sweep", scripted(), ids=lambda sweep: next(iter(sweep.variants)))
def test_every_training_can_begin(sweep: Sweep) -> None:
    source = find_source("digits")
    for variant in sweep.variants:
        experiment, _, _ = compose_variant(sweep, variant, 0, source)
        assert fits(experiment.model, experiment.size)
