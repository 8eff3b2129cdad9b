"""What `lenext cost` can be asked, and the forms in which it answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cyclopts import Parameter


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked, beside what the layers cost.

    Parameters
    ----------
    train
        What a training step multiplies, too, forward and backward.
    advise
        Name bottlenecks, a receptive field smaller than the image, and filters that a chain of 3x3 would replace.
    effective
        How far the places of the network see in effect, by the gradient of their middle on noise.
    latency
        Measure here, layer by layer, how long a pass takes, beside the least that this machine's peaks allow.
    memory
        What training and inference hold in memory, to the byte that an operator allocates.
    optimizer
        Whose state --memory counts, with its usual momentum; sgd unless told otherwise.
    precision
        Of --memory: float32 unless told otherwise; bf16 is autocast, with weights and gradients in float32.
    within
        With --memory, a limit such as 8GB or 500MB: the largest batches that stay within it.
    device
        With --memory, a card of a small table, as gtx_580: its memory as the limit, and what a step takes at its peaks.
    """

    train: bool = False
    advise: bool = False
    effective: bool = False
    latency: bool = False
    memory: bool = False
    optimizer: Literal["sgd", "adagrad", "rmsprop", "rmsprop_tf", "adam", "adamw"] | None = None
    precision: Literal["float32", "bf16"] | None = None
    within: str = ""
    device: str = ""

    @property
    def of_memory(self) -> bool:
        """Whether anything is told that only --memory heeds."""
        return bool(self.optimizer or self.precision or self.within or self.device)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Form:
    """How the answer is given.

    Parameters
    ----------
    depth
        A tree of the layers no deeper than that many modules, 0 for all, as a terminal shows it with 2.
    csv
        The layers as comma-separated values.
    json
        Print an object.
    plot
        Draw what each layer holds, learns, multiplies and sees: an .svg, a .png, or an offline .html page with numbers.
    """

    depth: int | None = None
    csv: bool = False
    json: bool = False
    plot: Path | None = None


LAYERS, USUAL_FORM = Question(), Form()  # where nothing is told
