"""A network as an ONNX file, which other runtimes read; the number of images is left open."""

import io
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import torch
from torch import Tensor, nn

from lenext.errors import WeightsError
from lenext.run import write_durably

INPUT, OUTPUT = "images", "scores"


def onnx_bytes(model: nn.Module, input_size: Sequence[int]) -> bytes:
    """The content of an ONNX file: images, float32 (N, C, H, W) of `input_size` (C, H, W), to scores (N, K).

    The model is run in evaluation mode and comes back in its own. What ONNX cannot say is a WeightsError (exit 4).
    The network is first written out for images of this size (torch.export), and then by torch's older exporter: it is
    ten times as fast as the newer one, needs one package less, but would stumble where a network asks for sizes.
    """
    images = torch.zeros(2, *input_size)  # one image would let the batch pass for a constant
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("n")},))
        plain = program.module(check_guards=False)
        return _written(torch.fx.GraphModule(plain, plain.graph), images)  # a copy that knows its mode
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise WeightsError(
            "cannot write the network as ONNX",
            why=str(error).strip().partition("\n")[0],
            advice="use the engines eager or compile",
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode


def _written(model: nn.Module, images: Tensor) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter's age
        torch.onnx.export(
            model,
            (images,),
            buffer,  # type: ignore[arg-type]  # the older exporter writes to any file
            dynamo=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "n"}, OUTPUT: {0: "n"}},
        )
    return buffer.getvalue()


def write_onnx(model: nn.Module, input_size: Sequence[int], path: Path) -> None:
    """Write `onnx_bytes` to a file, whole or not at all."""
    write_durably(path, onnx_bytes(model, input_size))
