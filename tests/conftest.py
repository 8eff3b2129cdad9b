"""One torch thread for every test, the command line, and a run that fails on a skip nobody listed."""

import itertools
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch

from lenext.cli import main

ALLOWED = Path(__file__).with_name("allowed_skips.txt")  # a line each: start of a test's node id, ": ", reason


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--strict-skips", action="store_true", help="fail on a skip or xfail that is not listed")
    parser.addoption("--update-golden", action="store_true", help="write tests/golden anew; a person reads the diff")


def pytest_configure() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell has its background jobs ignore


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not session.config.getoption("--strict-skips") or reporter is None:
        return
    listed = [line.partition(": ")[0] for line in ALLOWED.read_text(encoding="utf-8").splitlines() if ": " in line]
    absent = [report.nodeid for kind in ("skipped", "xfailed") for report in reporter.stats.get(kind, [])]
    unlisted = [node for node in absent if not any(node.startswith(prefix) for prefix in listed)]
    if unlisted:
        reporter.write_line(f"\nskipped without a reason in {ALLOWED.name}: {', '.join(unlisted)}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


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


@pytest.fixture
def even_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forecast sees 20 ms between any two looks at the clock, however busy the machine is."""
    ticks = itertools.count()
    clock = SimpleNamespace(perf_counter=lambda: 0.02 * next(ticks))
    monkeypatch.setattr("lenext.experiment.forecast.time", clock)
