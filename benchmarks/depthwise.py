"""MobileNetV2's depthwise convolutions forward, with maps channels last and in oneDNN's blocked layout, in turn.

python -m benchmarks.depthwise [--images 8] [--turns 15]

Channels last is what training uses; the blocked layout is torch's `to_mkldnn`, which knows few operators and little of
autograd, and which the engine eager uses where a network has no others. ONEDNN_VERBOSE=1 tells the kernels.
Milliseconds, medians, and their ratio.
"""

import argparse
import statistics
import time

import torch
from torch import Tensor, nn
from torch.utils import mkldnn

from lenext.cli.output import table
from lenext.device import keep_memory
from lenext.evaluation.packing import PackedConvolution
from lenext.exporting.watching import watch
from lenext.models.catalog import build


def seconds(layer: nn.Module, images: Tensor) -> float:
    start = time.perf_counter()
    layer(images)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--turns", type=int, default=15)
    told = parser.parse_args()
    keep_memory()
    rows: list[tuple[str, ...]] = [("channels", "side", "stride", "channels last", "blocked", "ratio")]
    runs = watch(build("mobilenetv2_100").eval(), (3, 224, 224), lambda _: False)
    layers = {
        (run.size, run.layer.stride): run for run in runs if isinstance(run.layer, nn.Conv2d) and run.layer.groups > 1
    }
    with torch.inference_mode():
        for (size, stride), run in layers.items():
            images = torch.rand(told.images, *size[1:])
            packed, blocked = PackedConvolution(run.layer, run, told.images), mkldnn.to_mkldnn(run.layer)
            laid = mkldnn.to_mkldnn(nn.Conv2d(size[1], size[1], 1))(images.to_mkldnn())  # its output is blocked
            last = images.to(memory_format=torch.channels_last)
            turns = [(seconds(packed, last), seconds(blocked, laid)) for _ in range(told.turns + 3)][3:]
            here, there = (1000 * statistics.median(times) for times in zip(*turns, strict=True))
            cells = (str(size[1]), str(size[2]), str(stride[0]), f"{here:.2f}", f"{there:.2f}", f"{here / there:.2f}")
            rows.append(cells)
    print(f"torch {torch.__version__}, {told.images} images, ms\n{table(rows, right=range(6))}")


if __name__ == "__main__":
    main()
