"""ONNX files. Oracle: ONNX Runtime and the reference evaluator of the package onnx, on the same images."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn
from torch.nn import functional as F

from lenext.errors import WeightsError
from lenext.exporting.onnx import INPUT, OUTPUT, onnx_bytes, write_onnx
from lenext.models.parts import LocalResponseNorm
from lenext.papers import FAMILIES

from ..models.test_every_family import awake, digits


def compare(family: str, count: int) -> None:
    model = awake(family)
    images, _ = digits(model)
    images = images[:count]
    session = onnxruntime.InferenceSession(onnx_bytes(model, images.shape[1:]), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = model.eval()(images).numpy()
    np.testing.assert_allclose(
        session.run([OUTPUT], {INPUT: images.numpy()})[0], expected, atol=1e-5 * (1 + np.abs(expected).max())
    )


def test_any_number_of_images_gets_the_networks_scores(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = awake("mobilenetv2").train()
    images, _ = digits(model)
    write_onnx(model, images.shape[1:], tmp_path / "net.onnx")
    assert model.training
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
    onnx.checker.check_model(onnx.load(tmp_path / "net.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = model.eval()(images).numpy()
    for count in (1, 3, 32):
        (found,) = session.run([OUTPUT], {INPUT: images[:count].numpy()})
        np.testing.assert_allclose(found, expected[:count], atol=1e-4)


def test_the_reference_evaluator_of_onnx_finds_lenets_scores() -> None:
    """Its subsampling sums four pixels, which one exporter forgot."""
    model = awake("lenet").eval()
    images, _ = digits(model)
    program: Any = ReferenceEvaluator(onnx.load_from_string(onnx_bytes(model, images.shape[1:])))
    with torch.no_grad():
        expected = model(images[:2]).numpy()
    np.testing.assert_allclose(program.run(None, {INPUT: images[:2].numpy()})[0], expected, rtol=1e-4)


def test_a_response_norm_takes_another_number_of_images_than_it_was_written_with() -> None:
    images = torch.randn(3, 7, 4, 5, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(onnx_bytes(LocalResponseNorm(), (7, 4, 5)))
    expected = F.local_response_norm(images, 5, alpha=5e-4, beta=0.75, k=2.0)
    np.testing.assert_allclose(session.run([OUTPUT], {INPUT: images.numpy()})[0], expected, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_can_be_written(family: str) -> None:
    compare(family, 3)


class Unsayable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        values: Tensor = torch.linalg.eigvalsh(x[:, 0])
        return values


def test_what_onnx_has_no_operator_for_is_exit_4() -> None:
    with pytest.raises(WeightsError, match="cannot write the network as ONNX"):
        onnx_bytes(Unsayable(), (1, 4, 4))
