"""One exception per exit code; each says what failed, why, what is kept and what to try next."""

from typing import ClassVar


class LenextError(Exception):
    """A failure that its reader can act on.

    what: what could not be done. why: the fact that prevents it. kept: what is safe on disk.
    advice: what to type or change next. The command line prints the four lines and exits with `exit_code`.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, why: str, advice: str, kept: str = "nothing was written") -> None:
        super().__init__(what, why, advice, kept)
        self.what = printable(what)
        self.why = printable(why)
        self.kept = printable(kept)
        self.advice = printable(advice)

    def __str__(self) -> str:
        return f"{self.what} (exit {self.exit_code})\n  why:  {self.why}\n  kept: {self.kept}\n  try:  {self.advice}"


def printable(text: str) -> str:
    r"""The text with what a terminal would obey, and bytes that are no UTF-8, written out: \x1b, \n, \udcff."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class UsageError(LenextError):
    """An unknown name, option or key, or a value out of its range."""

    exit_code = 2


class DataError(LenextError):
    """Data that is missing, broken or not what its name says."""

    exit_code = 3


class WeightsError(LenextError):
    """Weights that do not fit the network, or a checkpoint that is damaged."""

    exit_code = 4


class ConflictError(LenextError):
    """A resume or a configuration that contradicts what the run recorded."""

    exit_code = 5


class MachineError(LenextError):
    """The machine lacks something: an extra, space, permission."""

    exit_code = 6


class DivergedError(LenextError):
    """The loss is no longer a finite number."""

    exit_code = 7


class LockedError(LenextError):
    """Another process is using the run."""

    exit_code = 8


class InterruptedRunError(LenextError):
    """Ctrl-C or SIGTERM arrived and a good checkpoint was saved; `signal` is 2 or 15."""

    def __init__(self, what: str, *, why: str, advice: str, kept: str, signal: int) -> None:
        super().__init__(what, why=why, advice=advice, kept=kept)
        self.exit_code = 128 + signal  # type: ignore[misc]  # the shell's convention, known only now


class LostRankError(LenextError):
    """Of several processes that train together one ended or kept the others waiting; `code` is what it told, or 6."""

    def __init__(self, what: str, *, why: str, advice: str, kept: str, code: int) -> None:
        super().__init__(what, why=why, advice=advice, kept=kept)
        self.exit_code = code  # type: ignore[misc]  # as it failed, known only now


class IncompleteError(LenextError):
    """Some runs of many failed and the others are done; `code` is the first failure's own."""

    def __init__(self, what: str, *, why: str, advice: str, kept: str, code: int) -> None:
        super().__init__(what, why=why, advice=advice, kept=kept)
        self.exit_code = code  # type: ignore[misc]  # as it failed, known only now
