"""Read the tensors of a file that somebody else wrote: safetensors here, pickles in a confined process."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from lenext.errors import WeightsError
from lenext.weights.sandbox import REFUSED, find_tensors

_ROOM = 1 << 28  # bytes that reading takes beside the tensors
_COPIES = 4  # of the tensors, at the worst moment
_SECONDS = 600.0


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the named tensors of a .safetensors, .pth, .pt or .bin file, whatever it is called.

    A pickle is read with torch's `weights_only` in a process that may take four times the file's size and 256 MiB, so
    that one that would run code or grow without end is refused: a WeightsError says why.
    """
    if path.exists() and not path.is_file():
        raise _unreadable(path, "it is no file")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    if start[8:] == b"{":  # where a zip has the way it is packed, and a pickle no dictionary
        try:
            return find_tensors(safetensors.torch.load_file(path))
        except (safetensors.SafetensorError, TypeError) as error:
            raise _unreadable(path, str(error)) from error
    with tempfile.TemporaryDirectory(prefix="lenext-") as folder:
        target = Path(folder) / "tensors.safetensors"
        room = str(_COPIES * size + _ROOM)
        command = [sys.executable, "-P", "-m", "lenext.weights.sandbox", str(path), str(target), room]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="backslashreplace", timeout=_SECONDS, check=False,
                env=environment,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise _unreadable(path, f"reading it took more than {_SECONDS:.0f} s") from error
        if done.returncode == 0:
            return safetensors.torch.load_file(target)
    last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
    if done.returncode == REFUSED:
        raise _unreadable(path, last)
    raise _unreadable(path, f"the process that read it ended with {done.returncode} and said: {last}")


def _unreadable(path: Path, why: str) -> WeightsError:
    return WeightsError(
        f"cannot read weights from {path}", why=why, advice="a .safetensors, or a .pth that holds tensors only"
    )
