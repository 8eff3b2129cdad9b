"""Engines: a trained network made ready to predict and nothing else; here those that torch itself runs.

An engine works on a copy: batch norms are folded away, maps lie channels last (or as oneDNN likes them: packing.py),
filters as the processor wants them, and every core works unless told otherwise. The user's network stays as it is.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lenext.device import Precision, SpeedPlan, candidate_plans, keep_memory, threads
from lenext.errors import DataError
from lenext.evaluation.packing import pack_convolutions
from lenext.evaluation.scoring import full_precision
from lenext.exporting.fold import Folded

EngineName = Literal["auto", "eager", "compile", "openvino", "onnxruntime"]
ENGINES: tuple[EngineName, ...] = ("auto", "eager", "compile", "openvino", "onnxruntime")
Scores = NDArray[np.float32]

_MULTIPLE = 4  # of images, for which matrix kernels treat all rows alike: as in scoring.py


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Which engine predicts, and how it is driven.

    precision: float32, as where a run is judged, bf16, or auto, which is bf16 where the processor multiplies it.
    batch_size: images that are worked on at a time; 1 is for the least time of a single image. thread_count: 0 is every
    core.
    """

    name: EngineName = "auto"
    precision: Precision = "float32"
    batch_size: int = 32
    thread_count: int = 0

    def plan(self) -> SpeedPlan:
        """Device, precision and threads of an engine of torch on this machine."""
        return candidate_plans(self.precision, self.thread_count)[0]


@dataclass(frozen=True, kw_only=True)
class About:
    """What an engine is. folded, remaining: batch norms that are gone, and those that still run."""

    name: EngineName
    precision: Literal["float32", "bf16"]
    device: str
    threads: int
    batch_size: int
    folded: int
    remaining: int

    def __str__(self) -> str:
        where = f"{self.threads} thread{'s' if self.threads != 1 else ''}" if self.device == "cpu" else self.device
        norms = (
            f", {self.folded} of {self.folded + self.remaining} norms folded" if self.folded + self.remaining else ""
        )
        return f"{self.name} ({self.precision}, {where}{norms})"


class Engine(ABC):
    """A network that predicts: call it with a batch, or let a stream of batches run through it."""

    def __init__(self, about: About) -> None:
        self.about = about

    def __call__(self, images: Tensor) -> Scores:
        """Scores (N, K) of preprocessed images, float32 (N, C, H, W); a DataError where there are none."""
        if not len(images):
            raise DataError("cannot score images", why="there are none", advice="hand over at least one")
        return next(iter(self.stream([images])))

    @abstractmethod
    def stream(self, batches: Iterable[Tensor]) -> Iterator[Scores]:
        """Yield the scores of each batch, in order; later batches may be at work by then."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the network's memory."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class TorchEngine(Engine):
    """The folded network in torch, eager or compiled for batches of one size."""

    def __init__(
        self, folded: Folded, input_size: Sequence[int], config: EngineConfig, *, compiled: bool = False
    ) -> None:
        keep_memory()
        plan = config.plan()
        super().__init__(
            About(
                name="compile" if compiled else "eager",
                precision=plan.precision,
                device=plan.device,
                threads=plan.threads,
                batch_size=config.batch_size,
                folded=len(folded.folded),
                remaining=len(folded.remaining),
            )
        )
        self._plan, self._step = plan, config.batch_size
        self._multiple = config.batch_size if compiled else min(_MULTIPLE, config.batch_size)
        network = _placed(folded.model, plan)
        self._network: Callable[[Tensor], Tensor] | None = network
        self.blocked = False  # maps are as oneDNN lays them out, which torch's compiler cannot have
        if plan.device == "cpu" and plan.precision == "float32" and not compiled:
            self.blocked = pack_convolutions(network, (config.batch_size, *input_size))
        if compiled:
            compiled_network = torch.compile(network, fullgraph=True, dynamic=False)
            self._network = _frozen(compiled_network) if plan.device == "cpu" else compiled_network

    def stream(self, batches: Iterable[Tensor]) -> Iterator[Scores]:
        """Yield the scores of each batch as it is done."""
        for images in batches:
            yield np.concatenate([self._scores(images[i : i + self._step]) for i in range(0, len(images), self._step)])

    def close(self) -> None:
        """Drop the copy."""
        self._network = None

    def _scores(self, images: Tensor) -> Scores:
        if self._network is None:
            raise RuntimeError("this engine is closed")
        plan = self._plan
        kind = torch.bfloat16 if plan.precision == "bf16" else torch.float32
        channels_last = plan.channels_last and not self.blocked  # which oneDNN would lay out once more
        layout = torch.channels_last if channels_last else torch.contiguous_format
        padded = pad_batch(images, len(images) + -len(images) % self._multiple)
        with (
            full_precision(),
            threads(plan.threads),
            torch.inference_mode(),
            torch.autocast(plan.device, enabled=False),
        ):
            scores: Tensor = self._network(padded.to(plan.device, kind, memory_format=layout))
            return scores[: len(images)].float().cpu().numpy()


def pad_batch(images: Tensor, count: int) -> Tensor:
    """Repeat the last of N images (N, C, H, W) until there are `count`."""
    missing = count - len(images)
    return torch.cat([images, images[-1:].expand(missing, -1, -1, -1)]) if missing else images


def _frozen(compiled: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Compile with weights as constants: they are laid out once, and activations and sums join the convolutions.

    The tracer asks the process's settings, not those of one call of torch.compile, whether parameters are constants.
    """
    freezing = torch._inductor.config.patch(freezing=True)
    return freezing(compiled)  # type: ignore[no-any-return]


def _placed(network: nn.Module, plan: SpeedPlan) -> nn.Module:
    """Bring the network where the plan computes. In bf16 the statistics of norms keep all their digits."""
    if plan.precision == "bf16":
        for module in network.modules():
            if not isinstance(module, _BatchNorm):
                for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                    tensor.data = tensor.data.to(torch.bfloat16) if tensor.is_floating_point() else tensor.data
    network = network.to(plan.device)
    return network.to(memory_format=torch.channels_last) if plan.channels_last else network  # type: ignore[call-overload]
