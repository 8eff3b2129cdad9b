"""Cards that networks were trained on, from data sheets: does a step fit, and what would it take at their peaks?"""

from dataclasses import dataclass

from lenext.config import nearest
from lenext.costs.operators import Cost
from lenext.errors import UsageError

GIB = 1 << 30


@dataclass(frozen=True)
class Hardware:
    """memory: bytes. bandwidth: bytes a second. flops: float32 operations a second, without tensor cores."""

    name: str
    year: int
    memory: int
    bandwidth: float
    flops: float
    used_for: str = ""


# NVIDIA's data sheets: float32 multiplied by ordinary cores; of cards in several sizes the one that the paper names.
_CARDS = [
    Hardware("gtx_580", 2010, 3 * GIB, 192.4e9, 1.58e12, "AlexNet, two cards (Krizhevsky et al. 2012, section 5)"),
    Hardware("k40", 2013, 12 * GIB, 288e9, 4.29e12),
    Hardware(
        "titan_black", 2014, 6 * GIB, 336e9, 5.12e12, "VGG, four cards (Simonyan and Zisserman 2014, section 3.3)"
    ),
    Hardware("p100", 2016, 16 * GIB, 732e9, 10.6e12),
    Hardware("v100", 2017, 16 * GIB, 900e9, 15.7e12),
    Hardware("t4", 2018, 16 * GIB, 320e9, 8.1e12),
    Hardware("a100", 2020, 40 * GIB, 1555e9, 19.5e12),
    Hardware("rtx_3060", 2021, 12 * GIB, 360e9, 12.7e12),
    Hardware("rtx_4090", 2022, 24 * GIB, 1008e9, 82.6e12),
    Hardware("h100", 2022, 80 * GIB, 3350e9, 66.9e12),
    Hardware("h200", 2023, 140 * GIB, 4800e9, 66.9e12),
]
HARDWARE = {card.name: card for card in _CARDS}


def find_hardware(name: str) -> Hardware:
    """A card of the table; a UsageError for any other."""
    if name not in HARDWARE:
        raise UsageError(
            f"no card {name} in the table", why=f"it has {', '.join(HARDWARE)}", advice=nearest(name, HARDWARE)
        )
    return HARDWARE[name]


def seconds_at_peak(cost: Cost, card: Hardware) -> float:
    """What was counted, at a card's peaks: for each layer the longer of its arithmetic and its traffic.

    The roofline (Williams et al. 2009) of float32, each operator by itself, convolutions as they are defined. Programs
    reach half of it; tensor cores, fused operators and Winograd's convolutions go beyond it. Of a step of training,
    where it was counted: a product moves its bytes again for each gradient, other layers once.
    """
    seconds = 0.0
    for layer in cost.layers:
        macs = layer.macs if layer.training_macs is None else layer.training_macs
        times = macs / layer.macs if layer.macs else 1
        seconds += max(2 * macs / card.flops, times * layer.traffic_bytes / card.bandwidth)
    return seconds
