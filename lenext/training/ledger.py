"""What ranks write down for each other: who they are, what they agree on, why one of them ended.

It lies in torch's key-value store, which torchrun itself keeps, and so outlives every rank.
"""

import contextlib
import json
import os
import platform
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch.distributed.distributed_c10d import Store

from lenext.errors import LenextError

_TICK = 0.05  # seconds between two looks
_GRACE = 3.0  # seconds at most in which the others say that they wait too
_DEAD = ("", "Z", "X")  # states of a process that has ended; the middle one is not yet collected


@dataclass(frozen=True)
class Loss:
    """A rank that was lost: who it was, why as far as it is known, and the exit code that it told, else 6.

    stuck: its number where it neither runs nor ends, and is to be ended.
    """

    who: str
    why: str
    code: int = 6
    stuck: int | None = None


class SilenceError(Exception):
    """A rank has not said what the others wait for."""


class Ledger:
    """The entries of all ranks.

    limit: seconds that one may keep the others waiting while they train. patience: and before, while they prepare.
    """

    def __init__(self, store: Store, rank: int, world: int, limit: float, patience: float) -> None:
        self.store, self.rank, self.world, self.limit, self.patience = store, rank, world, limit, patience

    def enter(self) -> None:
        """Write down who this rank is, and wait until all have; not all is a SilenceError."""
        pid = os.getpid()
        self._write(f"rank/{self.rank}", {"host": platform.node(), "pid": pid, "born": _process(pid)[1]})
        for rank in range(self.world):
            self._await(f"rank/{rank}")

    def agree(self, name: str, value: Any) -> Any:
        """Return rank 0's value, of plain JSON; the others wait for it, and in vain it is a SilenceError."""
        if self.rank == 0:
            self._write(f"agreed/{name}", value)
            return value
        return self._await(f"agreed/{name}")

    def write_end(self, error: BaseException) -> None:
        """Write down that this rank ends, and why."""
        why, code = f"{type(error).__name__}: {error}", 1
        if isinstance(error, LenextError):
            why, code = f"{error.what}: {error.why}", error.exit_code
        with contextlib.suppress(dist.DistError):  # its keeper has gone
            self._write(f"end/{self.rank}", {"why": why, "code": code})

    def tells(self) -> bool:
        """Whether this rank is the first that asks: of many that end, one tells the person."""
        try:
            return int(self.store.add("told", 1)) == 1
        except dist.DistError:
            return True

    def find_lost(self) -> Loss:
        """Say whom this rank has lost; of those on this machine, one that neither runs nor ends is ended."""
        with contextlib.suppress(dist.DistError):
            self._write(f"waits/{self.rank}", True)
            deadline = time.monotonic() + min(self.limit, _GRACE)
            while not (found := self._told() or self._ended()) and time.monotonic() < deadline:
                time.sleep(_TICK)
            if found := found or self._silent():
                return self._agreed(found)
        return Loss("one of the ranks", "the connection to it was lost")

    def _told(self) -> Loss | None:
        """What another rank has found: it may have ended since, and be no culprit."""
        found = self._read("lost")
        return Loss(*found) if found else None

    def _agreed(self, found: Loss) -> Loss:
        """What the first rank has found holds for all; only then is who is stuck ended, whom others would find dead."""
        first = self.store.compare_set("lost", "", json.dumps([found.who, found.why, found.code]))
        if found.stuck is not None:
            self._end_process(found.stuck)
        return Loss(*json.loads(first))

    def _ended(self) -> Loss | None:
        """A rank that told why it ended, or else one of this machine that has ended or is stopped."""
        others = [rank for rank in range(self.world) if rank != self.rank]
        for rank in others:
            if end := self._read(f"end/{rank}"):
                return Loss(self._who(rank), end["why"], end["code"])
        for rank in others:
            state = self._state(rank)
            if state in _DEAD:
                return Loss(self._who(rank), "it was killed, or exited without a word")
            if state == "T":
                why = f"it was stopped, and the others waited {self.limit:g} s for it"
                return Loss(self._who(rank), why, stuck=rank)
        return None

    def _silent(self) -> Loss | None:
        """A rank that runs and does not wait for others."""
        for rank in range(self.world):
            if rank != self.rank and not self._read(f"waits/{rank}"):
                here = self._state(rank) != "?"
                why = f"the others waited {self.limit:g} s for it" if here else "it no longer answers"
                return Loss(self._who(rank), why, stuck=rank)
        return None

    def _who(self, rank: int) -> str:
        entry = self._read(f"rank/{rank}") or {"pid": "unknown", "host": "an unknown machine"}
        return f"rank {rank} of {self.world} (pid {entry['pid']} on {entry['host']})"

    def _state(self, rank: int) -> str:
        """State of a rank's process where it can be seen: R runs, S waits, T is stopped; "" has ended; else "?"."""
        entry = self._read(f"rank/{rank}")
        if not entry or entry["host"] != platform.node() or not Path("/proc/self/stat").is_file():
            return "?"
        state, born = _process(entry["pid"])
        return state if born == entry["born"] else ""

    def _end_process(self, rank: int) -> None:
        """Kill a rank that keeps the others waiting: torchrun itself waits half a minute for one that is stopped."""
        if self._state(rank) not in ("?", *_DEAD):
            with contextlib.suppress(OSError):
                os.kill(self._read(f"rank/{rank}")["pid"], signal.SIGKILL)

    def _write(self, key: str, value: Any) -> None:
        self.store.set(key, json.dumps(value))

    def _read(self, key: str) -> Any:
        return json.loads(self.store.get(key)) if self.store.check([key]) else None

    def _await(self, key: str) -> Any:
        """Wait for an entry; a SilenceError after all patience, and where a rank has ended."""
        deadline = time.monotonic() + self.patience
        while not self.store.check([key]):
            ended = any(self._read(f"end/{rank}") or self._state(rank) in _DEAD for rank in range(self.world))
            if ended or time.monotonic() > deadline:
                raise SilenceError(f"no rank wrote {key}")
            time.sleep(_TICK)
        return self._read(key)


def _process(pid: int) -> tuple[str, str]:
    """State letter and time of birth of a process, from /proc; both empty where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return "", ""
    return fields[0], fields[19]
