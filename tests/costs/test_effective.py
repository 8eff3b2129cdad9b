"""How far layers see in effect. Oracle: windows convolved with each other, by numpy."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lenext.costs.effective import LEAST, effective_fields
from lenext.costs.field import receptive_fields
from lenext.errors import UsageError
from lenext.models.catalog import build

from ..conftest import Lenext


def chain(count: int, kernel: int = 3) -> nn.Sequential:
    """Averages of averages: every gradient is positive, and the same for every image."""
    layers = [nn.Conv2d(1, 1, kernel, padding=kernel // 2, bias=False) for _ in range(count)]
    for layer in layers:
        nn.init.constant_(layer.weight, 1 / kernel**2)
    return nn.Sequential(*layers)


@pytest.mark.parametrize("count", [1, 2, 5, 10])
def test_a_chain_of_averages_sees_what_its_windows_convolved_see(count: int) -> None:
    window = np.ones(1)
    for _ in range(count):
        window = np.convolve(window, np.ones(3))
    square = np.outer(window, window) / 9**count
    found = effective_fields(chain(count), torch.randn(2, 1, 31, 31), [str(count - 1)])[0]
    side = len(window)
    assert found.size == (side, side)
    start = 15 - side // 2
    assert torch.allclose(found.gradient[start : start + side, start : start + side], torch.tensor(square).float())
    assert found.gradient.sum() == pytest.approx(1.0, abs=1e-5)  # nothing outside
    assert found.effective == pytest.approx(np.sqrt((square >= LEAST * square.max()).sum()))
    assert found.effective < side or count < 3


def test_it_grows_with_the_root_of_the_layers_where_the_field_grows_with_their_number() -> None:
    """Luo et al. 2016, section 2.1."""
    names = [str(number) for number in (4, 19)]
    few, many = effective_fields(chain(20), torch.randn(1, 1, 63, 63), names)
    assert (few.size[0] - 1, many.size[0] - 1) == (10, 40)
    assert many.effective / few.effective == pytest.approx(2.0, abs=0.15)


def test_a_network_is_as_it_was_and_sees_no_further_than_it_can() -> None:
    model = build("resnet20").train()
    names = ["stem", "stages.conv2_x", "stages.conv3_x", "stages.conv4_x"]
    found = effective_fields(model, torch.randn(4, 3, 32, 32), names)
    fields = {one.name: one.size for one in receptive_fields(model, (3, 32, 32))}
    assert [one.size for one in found] == [fields[name] for name in names]
    assert [one.output[0] for one in found] == [16, 16, 32, 64]
    for one in found:
        assert 0 < one.effective <= min(one.size[0], 32)
        support = one.gradient.nonzero()
        assert (support.max(0).values - support.min(0).values + 1).max() <= one.size[0]
    assert model.training and not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_is_no_map_is_told() -> None:
    model = build("resnet20")
    with pytest.raises(UsageError, match="has 1 sides"):
        effective_fields(model, torch.randn(1, 3, 32, 32), ["head"])


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.other = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.used(x)
        return y


def test_what_did_not_run_is_told() -> None:
    with pytest.raises(UsageError, match="it did not run"):
        effective_fields(Unused(), torch.randn(1, 1, 8, 8), ["other"])


def test_command_line(lenext: Lenext) -> None:
    lines = lenext("cost", "resnet20", "--effective").out.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["stem", "stages.conv2_x", "stages.conv3_x", "stages.conv4_x"]
    assert "drawn by torch" in lines[-1]
    answer = json.loads(lenext("cost", "resnet20", "--effective", "--json").out)
    assert answer["places"][0]["size"] == [3, 3] and 0 < answer["places"][0]["effective"] <= 3
