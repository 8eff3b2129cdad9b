"""Arms of a comparison: each has a process of its own, and one of them works at a time.

In one process an arm would gain from the memory that another has torch keep, or lose to threads that another leaves
spinning.
"""

import multiprocessing
import resource
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from lenext.device import cores

Step = Callable[..., Any]


class Arm:
    """make(*told) is called in a new process and returns a step and what there is to say of it (about).

    Making an arm waits for that, so that what the maker times is timed alone.
    """

    def __init__(self, make: Callable[..., tuple[Step, Any]], *told: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._end, theirs = context.Pipe()
        context.Process(target=_serve, args=(theirs, make, told), daemon=True).start()
        theirs.close()  # so that a maker that fails is an EOFError here
        self.about: Any = self._end.recv()

    def __call__(self, *given: Any) -> tuple[float, Any]:
        """Take a step and return its seconds and its result."""
        self._end.send(given)
        seconds, self.peak, result = self._end.recv()
        return seconds, result

    peak = 0.0  # of resident memory after the last step, in GB

    def close(self) -> None:
        """End the process."""
        self._end.send(None)


def _serve(asked: Connection, make: Callable[..., tuple[Step, Any]], told: tuple[Any, ...]) -> None:
    torch.set_num_threads(cores())
    torch.manual_seed(0)
    step, about = make(*told)
    asked.send(about)
    while (given := asked.recv()) is not None:
        start = time.perf_counter()
        result = step(*given)
        seconds = time.perf_counter() - start
        asked.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, result))
