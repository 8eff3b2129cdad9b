"""Mean, deviation and every seed of the test accuracy of runs: python benchmarks/summary.py runs/resnet20-*."""

import json
import statistics
import sys
from pathlib import Path


def main() -> None:
    rows = []
    for run in map(Path, sys.argv[1:]):
        index = json.loads((run / "run.json").read_text(encoding="utf-8"))
        metrics = json.loads((run / "metrics-test.json").read_text(encoding="utf-8"))
        rows.append(metrics["top1"])
        low, high = metrics["top1_interval"]
        print(
            f"{run.name}: {100 * metrics['top1']:.2f} % [{100 * low:.2f}, {100 * high:.2f}], {metrics['checkpoint']} "
            f"(epoch {metrics['epoch']}), {index['train_seconds']:.0f} s, test opened {index['test_opened']} time(s)"
        )
    spread = f" +- {100 * statistics.stdev(rows):.2f}" if len(rows) > 1 else ""
    print(f"mean {100 * statistics.mean(rows):.2f} %{spread} (sd, n = {len(rows)})")


if __name__ == "__main__":
    main()
