"""How long counting takes: lenext beside torchinfo on the same twenty networks, in one process, in turn.

Built and counted: from a name to the numbers, as each is used (torchinfo runs a real network). Counted alone: a network
that is there, both without data. From cold: the command, a process of its own.

pip install torchinfo==1.8.0
python -m benchmarks.cost_speed [REPETITIONS]
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torchinfo import summary

from benchmarks.cost_networks import NETWORKS, image_of, without_data
from lenext.cli.output import table
from lenext.costs.operators import count_cost
from lenext.models.catalog import build


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median_and_range(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} [{min(values):.1f}, {max(values):.1f}]"


def ratios(ours: Callable[[], object], theirs: Callable[[], object], times: int) -> tuple[float, float, list[float]]:
    """Median seconds of each, and the ratio of each turn; the first turn warms up and does not count."""
    turns = [(seconds(ours), seconds(theirs)) for _ in range(times + 1)][1:]
    return *(statistics.median(one) for one in zip(*turns, strict=True)), [its / mine for mine, its in turns]


def main() -> None:
    times = int(sys.argv[1]) if sys.argv[1:] else 3
    rows: list[tuple[str, ...]] = [
        (
            "network",
            "built, counted: lenext",
            "torchinfo",
            "times as fast",
            "counted alone: lenext",
            "torchinfo",
            "times",
        )
    ]
    every: tuple[list[float], list[float]] = ([], [])
    for name in NETWORKS:
        image, network = image_of(name), without_data(name).eval()
        whole = ratios(
            lambda name=name, image=image: count_cost(without_data(name), image),
            lambda name=name, image=image: summary(build(name).eval(), input_size=(1, *image), verbose=0),
            times,
        )
        alone = ratios(
            lambda network=network, image=image: count_cost(network, image),
            lambda network=network, image=image: summary(network, input_size=(1, *image), verbose=0, device="meta"),
            times,
        )
        cells = [
            (f"{1e3 * mine:.1f} ms", f"{1e3 * its:.0f} ms", median_and_range(found))
            for mine, its, found in (whole, alone)
        ]
        rows.append((name, *cells[0], *cells[1]))
        every[0].append(statistics.median(whole[2]))
        every[1].append(statistics.median(alone[2]))
        print(rows[-1], file=sys.stderr)
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {times} turns\n{table(rows, right=range(1, 7))}"
    )
    for what, found in zip(("built and counted", "counted alone"), every, strict=True):
        print(f"{what}: {statistics.geometric_mean(found):.1f} times as fast (geometric mean), least {min(found):.1f}")
    command = [sys.executable, "-m", "lenext", "cost", "resnet50"]
    cold = [seconds(lambda: subprocess.run(command, capture_output=True, check=True)) for _ in range(5)]
    print(f"lenext cost resnet50 from cold: {statistics.median(cold):.2f} s [{min(cold):.2f}, {max(cold):.2f}] of 5")


if __name__ == "__main__":
    main()
