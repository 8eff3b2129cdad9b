"""How long `lenext --help` and `lenext models` take as whole processes, beside a bare interpreter.

python -m benchmarks.startup

Claim: --help within 0.2 s and models within 0.3 s, best of five.
"""

import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "lenext --help": ["-m", "lenext", "--help"],
    "lenext models": ["-m", "lenext", "models"],
}
RUNS = 5


def seconds(words: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    for name, words in COMMANDS.items():
        times = sorted(seconds(words) for _ in range(RUNS))
        print(f"{name:16} best {times[0]:.3f} s, median {times[RUNS // 2]:.3f} s, worst {times[-1]:.3f} s, n = {RUNS}")


if __name__ == "__main__":
    main()
