"""Which engine a network predicts with: the one that was asked for, or the one that pays for its preparation."""

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lenext.config import nearest
from lenext.device import has_compiler, threads
from lenext.errors import LenextError, MachineError, UsageError, WeightsError
from lenext.evaluation.engines import ENGINES, Engine, EngineConfig, EngineName, TorchEngine
from lenext.evaluation.runtimes import OnnxRuntimeEngine, OpenVinoEngine
from lenext.evaluation.scoring import full_precision
from lenext.exporting.fold import fold_norms
from lenext.extras import missing_modules, require_extra

# Seconds that eager must have before it for another engine to pay: three times what preparing it costs (about 3 s for
# a runtime, 15 s for a compiler), where it saves at least a twentieth of eager's time (docs/performance.md).
_PAYS: tuple[tuple[EngineName, float], ...] = (("openvino", 180.0), ("onnxruntime", 180.0), ("compile", 900.0))
_EXTRAS: dict[EngineName, str] = {"openvino": "openvino", "onnxruntime": "onnx"}

# How far an engine's scores may lie from those of the folded network in float32, of 1 + the largest of them: rounding,
# in bf16 (8 bits) of a few dozen layers.
_TOLERANCE = {"float32": 1e-4, "bf16": 5e-2}


def open_engine(model: nn.Module, input_size: Sequence[int], config: EngineConfig) -> Engine:
    """Make a network ready to predict images (C, H, W) of `input_size`; the model itself stays as it is.

    "auto" is eager here; `choose_engine` knows more. What the engine says of two images of noise must be what the
    network says, else it is a WeightsError (exit 4). A missing extra or compiler is a MachineError (exit 6).
    """
    require_engine(config)
    makers: dict[EngineName, Callable[[], Engine]] = {
        "auto": lambda: TorchEngine(fold_norms(model, input_size), input_size, config),
        "eager": lambda: TorchEngine(fold_norms(model, input_size), input_size, config),
        "compile": lambda: TorchEngine(fold_norms(model, input_size), input_size, config, compiled=True),
        "openvino": lambda: OpenVinoEngine(fold_norms(model, input_size), input_size, config),
        "onnxruntime": lambda: OnnxRuntimeEngine(fold_norms(model, input_size), input_size, config),
    }
    _require_numbers(model)
    engine = makers[config.name]()
    if config.name in ("compile", "openvino", "onnxruntime"):
        _require_agreement(engine, model, input_size)
    return engine


def require_engine(config: EngineConfig) -> None:
    """Refuse what no machine can do (UsageError), and an extra or a compiler that this one lacks (exit 6)."""
    if config.name not in ENGINES:
        raise UsageError(
            f"unknown engine {config.name!r}",
            why=f"there are {', '.join(ENGINES)}",
            advice=nearest(config.name, ENGINES),
        )
    if config.batch_size < 1:
        raise UsageError(
            f"cannot predict in batches of {config.batch_size}", why="a batch holds images", advice="batch_size=32"
        )
    if config.name == "onnxruntime" and config.precision == "bf16":
        raise UsageError(
            "cannot predict with onnxruntime in bf16",
            why="its processor kernels are float32",
            advice="--precision float32, or another engine",
        )
    if config.name in _EXTRAS:
        require_extra(_EXTRAS[config.name], f"predict with {config.name}")
    if config.name == "compile" and not has_compiler():
        raise MachineError(
            "cannot predict with compile", why="there is no C++ compiler", advice="install g++, or use --engine eager"
        )


def choose_engine(model: nn.Module, sample: Tensor, images: int, config: EngineConfig) -> tuple[Engine, str]:
    """Open the engine that is asked for, or for "auto" the one that pays for so many images; with it, why.

    sample: a few preprocessed images (N, C, H, W), which eager is timed on. Up to a batch of images eager is not timed,
    nor on an accelerator.
    """
    size = tuple(sample.shape[1:])
    engine = open_engine(model, size, config)
    if config.name != "auto":
        return engine, "asked for"
    if images <= config.batch_size or engine.about.device != "cpu":
        return engine, "nothing to prepare"
    engine(sample)
    start = time.perf_counter()
    engine(sample)
    seconds = (time.perf_counter() - start) * images / len(sample)
    why = f"eager would take about {seconds:.0f} s"
    for name, least in _PAYS:
        if name == "compile" and isinstance(engine, TorchEngine) and engine.blocked:
            continue  # it knows no such layout, and is slower (docs/performance.md)
        if seconds >= least and _is_at_hand(name, engine.about.precision):
            try:
                return open_engine(model, size, dataclasses.replace(config, name=name)), why
            except LenextError as error:
                why = f"{error.what}: {error.why}"
    return engine, why


def _is_at_hand(name: EngineName, precision: str) -> bool:
    if name == "compile":
        return has_compiler()
    return not missing_modules(_EXTRAS[name]) and (name == "openvino" or precision == "float32")


def _require_numbers(model: nn.Module) -> None:
    """Refuse weights that are no numbers, which an engine may hide: a ReLU joined to a convolution makes 0 of them."""
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise WeightsError(
                "cannot predict with this network", why=f"some of its weights are no numbers: {name}", advice="train it"
            )


def _require_agreement(engine: Engine, model: nn.Module, input_size: Sequence[int]) -> None:
    """Hold the engine's scores of two images of noise against the network's own in float32."""
    noise = torch.randn(2, *input_size, generator=torch.Generator().manual_seed(0))
    network = fold_norms(model, input_size).model.cpu()
    with full_precision(), threads(engine.about.threads), torch.inference_mode():
        expected = network(noise).numpy()
    try:
        apart = float(np.abs(engine(noise) - expected).max())
    except LenextError:
        raise
    except Exception as error:  # of a compiler that is broken, of what it cannot trace: no list of them would be whole
        raise WeightsError(
            f"cannot predict with {engine.about.name}",
            why=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}",
            advice="--engine eager",
        ) from error
    allowed = _TOLERANCE[engine.about.precision] * (1 + float(np.abs(expected).max()))
    if not apart <= allowed:
        raise WeightsError(
            f"cannot predict with {engine.about.name}",
            why=f"its scores differ by {apart:.2g} from the network's own, {allowed:.2g} is rounding",
            advice="--engine eager",
        )
