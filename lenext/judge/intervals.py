"""95 % intervals of proportions, of what is a function of one, and of the mean over runs."""

import math
import statistics
from collections.abc import Sequence

from lenext.errors import UsageError

Z95 = 1.959963984540054  # the normal quantile at 0.975


def wilson(successes: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927); (0, 1) where n is 0, for then nothing is known."""
    if not 0 <= successes <= n:
        raise UsageError(
            f"no interval for {successes} of {n}",
            why="successes lie between 0 and the number of trials",
            advice="count again",
        )
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    scale = 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / scale
    # At the ends the interval touches 0 or 1 exactly; rounding would miss it by an ulp.
    return 0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half


def f1_interval(hits: int, misses: int) -> tuple[float, float]:
    """Interval of an F1 score from its true positives and its errors (false positives and false negatives together).

    Among the samples that are of the class or are called it, the share of hits, j, is a proportion, and
    F1 = 2 j / (1 + j) rises with it: the ends are those of Wilson's interval of j, carried over (Lam, Gopal and Qian
    2023, arXiv 2309.14621, "Wilson indirect").
    """
    low, high = wilson(hits, hits + misses)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def student_t(degrees: int, share: float = 0.95) -> float:
    """The t beyond which Student's distribution (1908) has 1 - `share` in its two tails together.

    The probability between -t and t is a finite sum in the angle atan(t / sqrt(degrees)) (Abramowitz and Stegun 1964,
    26.7.3 and 26.7.4), whose root is found by halving.
    """
    if degrees < 1:
        raise UsageError(
            "no interval", why=f"Student's t has 1 degree of freedom or more, not {degrees}", advice="more runs"
        )
    low, high = 0.0, math.pi / 2
    while low < (angle := (low + high) / 2) < high:
        low, high = (angle, high) if _between(angle, degrees) < share else (low, angle)
    return math.sqrt(degrees) * math.tan(low)


def _between(angle: float, degrees: int) -> float:
    """The probability of Student's distribution between -t and t, t being sqrt(degrees) tan(angle)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd, total = degrees % 2, 0.0
    term = cosine if odd else 1.0
    for power in range(odd, degrees - 1, 2):
        total += term
        term *= (power + 1) / (power + 2) * cosine**2
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def mean_interval(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean of independent runs and the half width of its interval by Student's t, None where one run tells none."""
    mean = statistics.fmean(values)
    if len(values) == 1:
        return mean, None
    return mean, student_t(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
