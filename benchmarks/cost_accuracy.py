"""Multiply-accumulates of twenty networks by lenext and by four other counters, beside the right number.

What is right: the products of convolutions, linear layers and matrix products, counted by torch's own counter of
operators while the network runs (FlopCounterMode, halved). lenext counts the same operators, by formulas of its own for
most: its column shows that they agree, and tests hold it to the papers and to sums by hand. The others are asked for
"MACs" as their documentation says and count what they will: normalisation, activation and pooling, where they add them,
are in the error.

pip install torchinfo==1.8.0 thop fvcore ptflops
python -m benchmarks.cost_accuracy [NETWORK ...]
"""

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.cost_networks import NETWORKS, image_of, without_data
from lenext.cli.output import table
from lenext.costs.operators import count_cost
from lenext.models.catalog import build

Counter = Callable[[str], float]


def ours(name: str) -> float:
    return count_cost(without_data(name), image_of(name)).macs


def by_operators(name: str) -> float:
    network = without_data(name).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, *image_of(name), device="meta"))
    return counter.get_total_flops() / 2


def torchinfo(name: str) -> float:
    from torchinfo import summary

    return float(summary(build(name).eval(), input_size=(1, *image_of(name)), verbose=0).total_mult_adds)


def thop(name: str) -> float:
    from thop import profile

    return float(profile(build(name).eval(), inputs=(torch.zeros(1, *image_of(name)),), verbose=False)[0])


def fvcore(name: str) -> float:
    from fvcore.nn import FlopCountAnalysis

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    return float(FlopCountAnalysis(build(name).eval(), torch.zeros(1, *image_of(name))).total())


def ptflops(name: str) -> float:
    from ptflops import get_model_complexity_info

    network: nn.Module = build(name).eval()
    found = get_model_complexity_info(
        network, image_of(name), as_strings=False, print_per_layer_stat=False, verbose=False, backend="pytorch"
    )
    return float(found[0])


PEERS: dict[str, Counter] = {"torchinfo": torchinfo, "thop": thop, "fvcore": fvcore, "ptflops": ptflops}


def asked(counter: Counter, name: str) -> float | None:
    """What a peer answers, None where it fails."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            return counter(name)
    except Exception as error:
        print(f"{counter.__name__} of {name}: {type(error).__name__}: {error}", file=sys.stderr)
        return None


def main() -> None:
    peers = ", ".join(f"{name} {version(name)}" for name in PEERS)
    print(f"torch {torch.__version__}, {peers}; error of each in per cent of the right number of GMACs\n")
    rows: list[tuple[str, ...]] = [("network", "right", "lenext", *PEERS)]
    for name in sys.argv[1:] or NETWORKS:
        right = by_operators(name)
        found = [ours(name), *(asked(counter, name) for counter in PEERS.values())]
        errors = ["failed" if one is None else f"{100 * (one / right - 1):+.1f} %" for one in found]
        rows.append((name, f"{right / 1e9:.4f}", *errors))
        print(rows[-1], file=sys.stderr)
    print(table(rows, right=range(1, len(rows[0]))))


if __name__ == "__main__":
    main()
