"""Real ranks: processes forked from a server that has imported torch, which meet in a store of the test's own."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.distributed as dist

from lenext.errors import LenextError
from lenext.training.distributed import Place, Ranks, joined

from .dying import pipe, start_child

LIMIT = 60.0  # seconds, where nobody should be lost


@dataclass(frozen=True)
class Ended:
    """How a rank ended: what its work returned, or the error that it raised, and its exit code."""

    result: Any
    error: str
    code: int


def run_ranks(work: Callable[..., Any], world: int, *arguments: Any, limit: float = LIMIT) -> list[Ended]:
    """Call work(ranks, *arguments) in `world` processes and wait for all; `limit` is the ranks' own."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    ends, children = [], []
    for rank in range(world):
        place = Place(rank=rank, world=world, local_rank=rank, local_world=world, port=store.port, kept=True)
        mine, theirs = pipe()
        children.append(start_child(_rank, work, place, limit, theirs, arguments))
        theirs.close()
        ends.append(mine)
    told = [_receive(end, time.monotonic() + LIMIT) for end in ends]
    for child in children:
        child.join(LIMIT)
        if child.is_alive():
            child.kill()
            child.join()
    return [Ended(*each, int(child.exitcode)) for each, child in zip(told, children, strict=True)]


def results(work: Callable[..., Any], world: int, *arguments: Any) -> list[Any]:
    """What each rank returned; all must have done their work."""
    ended = run_ranks(work, world, *arguments)
    assert [one.code for one in ended] == [0] * world, [one.error for one in ended]
    return [one.result for one in ended]


def _receive(end: Any, until: float) -> tuple[Any, str]:
    try:
        return end.recv() if end.poll(max(until - time.monotonic(), 0)) else (None, "")
    except EOFError:  # it died without a word
        return None, ""


def _rank(work: Callable[..., Any], place: Place, limit: float, end: Any, arguments: tuple[Any, ...]) -> None:
    import os

    try:
        with joined(place, limit) as ranks:
            end.send((work(ranks, *arguments), ""))
    except BaseException as error:
        end.send((None, str(error)))
        os._exit(error.exit_code if isinstance(error, LenextError) else 1)


def alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """What the same work returns in one process."""
    return work(Ranks(), *arguments)
