"""Whether the layers' times that `lenext cost --latency` tells sum to the pass that is timed as a whole.

python -m benchmarks.latency [NETWORK ...]

Claim: what the layers and what is between them do not sum to is within 15 % of the pass, on an idle machine. Beside it
the part of the pass that the roofline of measured peaks explains.
"""

import sys

import torch

from benchmarks.cost_networks import image_of
from lenext.cli.output import table
from lenext.costs.latency import measure_latency
from lenext.device import candidate_plans
from lenext.models.catalog import build

NETWORKS = ["lenet5_relu", "alexnet", "vgg16", "resnet20", "resnet18", "resnet50", "densenet121", "mobilenetv2_100",
            "efficientnet_b0", "convnext_tiny"]  # fmt: skip
BATCH = 4


def main() -> None:
    rows: list[tuple[str, ...]] = [("network", "pass, ms", "quartiles", "passes", "not summed", "roofline", "threads")]
    for name in sys.argv[1:] or NETWORKS:
        torch.manual_seed(0)
        found = measure_latency(build(name), torch.randn(BATCH, *image_of(name)), candidate_plans(), seconds=5.0)
        bound = sum(layer.bound for layer in found.layers)
        whole = 1e3 * found.median
        rows.append((
            name, f"{whole:.1f}", f"{1e3 * found.low:.1f} to {1e3 * found.high:.1f}", str(found.passes),
            f"{100 * found.unexplained / found.median:+.1f} %", f"{100 * bound / found.median:.0f} %",
            str(found.plan.threads),
        ))  # fmt: skip
        print(rows[-1], file=sys.stderr)
    print(f"torch {torch.__version__}, batches of {BATCH}\n{table(rows, right=range(1, len(rows[0])))}")


if __name__ == "__main__":
    main()
