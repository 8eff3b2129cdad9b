"""Runs that many tests start from; none of them may be changed in place."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lenext.experiment.resuming import resume

from .pieces import SCHEDULES, begin, copy, finish


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Fresh("plateau", "training.save_seconds=0"): a run at step 0."""
    made: dict[tuple[str, ...], Path] = {}

    def make(schedule: str = "one_cycle", *settings: str) -> Path:
        key = (schedule, *settings)
        if key not in made:
            run = tmp_path_factory.mktemp("fresh") / "run"
            begin(run, *SCHEDULES[schedule], *settings)
            made[key] = run
        return made[key]

    return make


@pytest.fixture(scope="session")
def uninterrupted(fresh: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """The same run as a fresh one, trained to its end at one go."""
    made: dict[Path, Path] = {}

    def make(run: Path) -> Path:
        if run not in made:
            whole = copy(run, tmp_path_factory.mktemp("whole") / "run")
            made[run] = finish(resume(whole))
        return made[run]

    return make
