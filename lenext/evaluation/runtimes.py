"""Engines of other runtimes: OpenVINO and ONNX Runtime, which read the folded network as ONNX."""

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from torch import Tensor

from lenext.device import cores
from lenext.errors import WeightsError
from lenext.evaluation.engines import About, Engine, EngineConfig, EngineName, Scores, pad_batch
from lenext.exporting.fold import Folded
from lenext.exporting.onnx import INPUT, onnx_bytes

_PIXELS = 224 * 224  # of a request: one photograph keeps a core long enough, of small images as many go together


class OpenVinoEngine(Engine):
    """Requests of a few images, many of them at once, each on cores of its own; for single images all cores on one.

    The sizes of a request are fixed, for which OpenVINO plans its memory best; the last request is padded.
    """

    def __init__(self, folded: Folded, input_size: Sequence[int], config: EngineConfig) -> None:
        import openvino

        wanted = _about("openvino", folded, config, config.plan().precision)
        side = max(_PIXELS // int(np.prod(input_size[-2:])), 1)
        self._images = min(side, config.batch_size)
        core = openvino.Core()
        settings = {
            "PERFORMANCE_HINT": "LATENCY" if config.batch_size == 1 else "THROUGHPUT",
            "INFERENCE_NUM_THREADS": wanted.threads,
            "INFERENCE_PRECISION_HINT": "bf16" if wanted.precision == "bf16" else "f32",
        }
        content = onnx_bytes(folded.model, input_size)
        try:
            network = core.read_model(content)
            network.reshape([self._images, *input_size])
            compiled = core.compile_model(network, "CPU", settings)
        except RuntimeError as error:
            raise _refused("openvino", error) from error
        used: Literal["float32", "bf16"] = (
            "bf16" if "bf" in str(compiled.get_property("INFERENCE_PRECISION_HINT")) else "float32"
        )
        super().__init__(dataclasses.replace(wanted, precision=used))  # a processor without bf16 gets float32
        at_once = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        # twice as many as work, so that a core that is done finds the next
        self._requests = [compiled.create_infer_request() for _ in range(1 if config.batch_size == 1 else 2 * at_once)]

    def stream(self, batches: Iterable[Tensor]) -> Iterator[Scores]:
        """Yield the scores of each batch, while requests of the next are at work."""
        if not self._requests:
            raise RuntimeError("this engine is closed")
        free, running = list(self._requests), deque[_Running]()
        try:
            for images in batches:
                scores: list[Scores] = []
                for start in range(0, len(images), self._images):
                    if not free:
                        yield from _collect(running, free)
                    piece = images[start : start + self._images]
                    request = free.pop()
                    given = pad_batch(piece, self._images).contiguous().numpy()
                    request.start_async({0: given}, share_inputs=True)
                    running.append((request, given, len(piece), scores, start + len(piece) == len(images)))
            while running:
                yield from _collect(running, free)
        finally:
            for request, *_ in running:
                request.wait()

    def close(self) -> None:
        """Drop the requests, which hold the network."""
        self._requests = []


_Running = tuple[
    Any, Any, int, list[Scores], bool
]  # request, its input, images, the batch's scores, whether it is last


def _collect(running: deque[_Running], free: list[Any]) -> Iterator[Scores]:
    """Wait for the oldest request; yield the scores of its batch where it was the last of it."""
    request, _, count, scores, last = running[0]
    request.wait()
    running.popleft()
    scores.append(request.get_output_tensor(0).data[:count].astype(np.float32))  # a copy: the request goes on
    free.append(request)
    if last:
        yield np.concatenate(scores)


class OnnxRuntimeEngine(Engine):
    """ONNX Runtime on the processor, float32."""

    def __init__(self, folded: Folded, input_size: Sequence[int], config: EngineConfig) -> None:
        import onnxruntime

        about = _about("onnxruntime", folded, config, "float32")
        super().__init__(about)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = about.threads
        options.log_severity_level = 3  # errors
        try:
            self._session = onnxruntime.InferenceSession(
                onnx_bytes(folded.model, input_size), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no base but this
            raise _refused("onnxruntime", error) from error

    def stream(self, batches: Iterable[Tensor]) -> Iterator[Scores]:
        """Yield the scores of each batch as it is done."""
        if self._session is None:
            raise RuntimeError("this engine is closed")
        for images in batches:
            parts = images.split(self.about.batch_size)
            yield np.concatenate([self._session.run(None, {INPUT: part.contiguous().numpy()})[0] for part in parts])

    def close(self) -> None:
        """Drop the session."""
        self._session = None


def _about(name: EngineName, folded: Folded, config: EngineConfig, precision: Any) -> About:
    return About(
        name=name,
        precision=precision,
        device="cpu",
        threads=config.thread_count or cores(),
        batch_size=config.batch_size,
        folded=len(folded.folded),
        remaining=len(folded.remaining),
    )


def _refused(name: str, error: Exception) -> WeightsError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return WeightsError(
        f"cannot predict with {name}",
        why=f"it does not take this network: {lines[-1] if lines else type(error).__name__}",
        advice="--engine eager, or compile",
    )
