"""Several processes of one command, as torchrun starts them: who this one is, and that one of them speaks."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from lenext.errors import InterruptedRunError, LenextError, LostRankError, UsageError

if TYPE_CHECKING:
    from lenext.training.distributed import Place, Ranks


@contextlib.contextmanager
def joined_ranks(limit: float) -> Iterator["Ranks"]:
    """Join the other processes of this command for the block, if there are any; ranks but the first say nothing.

    limit: seconds that a rank may keep the others waiting. An error is told once, with the rank that it came from, and
    ends every rank.
    """
    from lenext.training.distributed import joined

    if limit <= 0:
        raise UsageError(f"cannot wait {limit:g} s for a rank", why="that is no time", advice="--rank-limit 120")
    place, ranks = read_place(os.environ), None
    try:
        with joined(place, limit) as ranks, _quiet(not ranks.leads):
            yield ranks
    except SystemExit as end:  # by a signal
        leave(end.code if isinstance(end.code, int) else 1)
    except Exception as error:
        if ranks is None or ranks.ledger is None:
            raise
        speaks = ranks.leads if isinstance(error, InterruptedRunError) else ranks.ledger.tells()
        if not speaks:
            leave(error.exit_code if isinstance(error, LenextError) else 1)
        if isinstance(error, LenextError) and not isinstance(error, LostRankError | InterruptedRunError | UsageError):
            error.what = f"rank {place.rank} of {place.world} (pid {os.getpid()}) {error.what}"
        raise


def read_place(variables: Mapping[str, str]) -> "Place":
    """Where this process stands, from the variables that torchrun sets; alone without them."""
    from lenext.training.distributed import Place

    def number(name: str, default: int) -> int:
        try:
            return int(variables.get(name, default))
        except ValueError as error:
            why = f"{name} is {variables[name]!r}"
            raise UsageError("cannot find the other ranks", why=why, advice="start them with torchrun") from error

    world = number("WORLD_SIZE", 1)
    return Place(
        rank=number("RANK", 0),
        world=world,
        local_rank=number("LOCAL_RANK", 0),
        local_world=number("LOCAL_WORLD_SIZE", world),
        address=variables.get("MASTER_ADDR", "127.0.0.1"),
        port=number("MASTER_PORT", 29500),
        kept=variables.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        attempt=number("TORCHELASTIC_RESTART_COUNT", 0),
    )


def leave(code: int) -> NoReturn:
    """End the process; at once where other ranks may never answer what torch would wait for."""
    if "torch" in sys.modules:
        from lenext.training.distributed import is_joined

        if is_joined():
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    stream.flush()
            os._exit(code)
    sys.exit(code)


@contextlib.contextmanager
def _quiet(silent: bool) -> Iterator[None]:
    """Let nothing be printed inside the block, where it should be silent."""
    if not silent:
        yield
        return
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield
