"""AlexNet's two columns on two processes beside the grouped network on one: the same gradients, the time of a step.

torchrun --standalone --nproc-per-node 2 benchmarks/two_columns.py [--model alexnet] [--size 227] [--batch 16]

Rank 0 computes the whole network first, alone, on all cores; then both compute their columns, on half of the cores
each. --quick is a small trial of a minute.
"""

import argparse
import os
import statistics
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from lenext.device import cores, threads
from lenext.models.alexnet import AlexNet
from lenext.models.catalog import build
from lenext.models.columns import COLUMNS, Column


def step(model: nn.Module, images: Tensor, targets: Tensor) -> float:
    """Forward and backward; return its seconds."""
    model.zero_grad()
    start = time.perf_counter()
    F.cross_entropy(model(images), targets).backward()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="alexnet", choices=["alexnet", "bvlc_alexnet", "caffenet"])
    parser.add_argument("--size", type=int, default=227)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--quick", action="store_true")
    told = parser.parse_args()
    size, batch, steps = (67, 4, 3) if told.quick else (told.size, told.batch, told.steps)
    if int(os.environ.get("WORLD_SIZE", "1")) != COLUMNS:
        parser.error(
            "two columns take two processes: torchrun --standalone --nproc-per-node 2 benchmarks/two_columns.py"
        )
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(0)
    whole = build(told.model, dropout=0.0)  # each process would draw its own
    assert isinstance(whole, AlexNet)
    images, targets = torch.randn(batch, 3, size, size), torch.randint(1000, (batch,))
    column = Column(whole, rank)
    single = 0.0
    if rank == 0:
        with threads(cores()):
            single = statistics.median([step(whole, images, targets) for _ in range(steps + 1)][1:])
    dist.barrier()
    with threads(max(cores() // COLUMNS, 1)):
        several = statistics.median([step(column, images, targets) for _ in range(steps + 1)][1:])
    if rank == 0:
        expected = dict(whole.named_parameters())
        scale = max(float(p.grad.abs().max()) for p in expected.values() if p.grad is not None)
        differences = [
            float((p.grad - expected[name].grad.chunk(COLUMNS)[0]).abs().max())
            for name, p in column.named_parameters()
            if p.grad is not None
        ]
        print(f"{told.model} at {size} pixels, batches of {batch}, {cores()} cores, torch {torch.__version__}")
        print(f"one process   {single:.3f} s a step")
        print(f"two columns   {several:.3f} s a step, {sum(p.numel() for p in column.parameters()):,} parameters each")
        print(f"largest difference of a gradient {max(differences):.1e}, of gradients up to {scale:.1e} (float32)")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
