"""Real processes that die at a chosen moment: at a signal, or just before a chosen change of a file.

The children are forked by a server that has imported torch, so that one costs milliseconds. The moment is found by the
interpreter's own audit events (PEP 578), which come just before the system call: nothing of lenext is replaced.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lenext.cli import main
from lenext.errors import LenextError

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["lenext.experiment.session", "torch._dynamo", "pytest", "tests.dying"])
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
_LIMIT = 120  # seconds, against a child that hangs


def run_child(work: Callable[..., object], *arguments: Any) -> int:
    """Run `work` in a process of its own; return its exit code, a LenextError's own, or minus the signal it died of."""
    process = start_child(work, *arguments)
    process.join(_LIMIT)
    if process.is_alive():
        process.kill()
        process.join()
    return int(process.exitcode)


def start_child(work: Callable[..., object], *arguments: Any) -> Any:
    """Begin `work` in a process of its own and return the process."""
    process = _CONTEXT.Process(target=_main, args=(work, arguments), daemon=True)
    process.start()
    return process


def run_words(words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> tuple[str, str]:
    """Run `lenext ...` or `python -c ...` in a folder, in a process of one core; return its results and its words."""
    with tempfile.TemporaryDirectory() as files:
        streams = (Path(files) / "out", Path(files) / "err")
        run_child(_command, list(words), folder, dict(environment), streams)
        out, err = (stream.read_text(encoding="utf-8") for stream in streams)
        return out, err


def own_core() -> int:
    """The core of this pytest worker. A run takes all that it sees, and its threads would wait for other tests."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % len(cores)]


def _command(words: list[str], folder: Path, environment: dict[str, str], streams: tuple[Path, Path]) -> None:
    os.chdir(folder)
    os.environ.update(environment)
    os.sched_setaffinity(0, {own_core()})
    for number, stream in enumerate(streams, start=1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT), number)
    if words[0] == "lenext":
        main(words[1:])
    else:
        exec(words[2], {"__name__": "__main__"})


def pipe() -> tuple[Any, Any]:
    """Two connected ends, one for a child."""
    return _CONTEXT.Pipe()


def _main(work: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    try:
        work(*arguments)
    except LenextError as error:
        sys.exit(error.exit_code)


def before_change(number: int, folder: Path, act: Callable[[], None]) -> None:
    """Call `act` just before the `number`-th change of a file under `folder`: opened to write, renamed, removed."""
    changes = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal changes
        if event in _CHANGES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            if not str(arguments[0]).startswith(str(folder)):
                return
            changes += 1
            if changes == number:
                act()

    sys.addaudithook(hook)


def die() -> None:
    """End this process as a power cut would: no handler, no `finally`, no flush."""
    os.kill(os.getpid(), signal.SIGKILL)
