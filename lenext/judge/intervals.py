"""95 % intervals of proportions, and of what is a function of one."""

import math

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
