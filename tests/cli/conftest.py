"""The command line in an empty folder, and what it answers."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from lenext.cli import main


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Lenext = Callable[..., Answer]


@pytest.fixture
def lenext(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lenext:
    """Run a command in an empty folder, with an empty home of data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LENEXT_HOME", str(tmp_path / "home"))

    def run(*words: str) -> Answer:
        with pytest.raises(SystemExit) as end:
            main(list(words))
        captured = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Answer(end.value.code, captured.out, captured.err)

    return run
