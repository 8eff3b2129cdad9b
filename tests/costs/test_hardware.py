"""Cards of a data sheet. Oracle: the roofline by hand, and what AlexNet's authors report."""

import json

import pytest
from torch import nn

from lenext.costs.hardware import HARDWARE, Hardware, find_hardware, seconds_at_peak
from lenext.costs.operators import count_cost
from lenext.errors import UsageError
from lenext.models.catalog import build

from ..conftest import Lenext


def test_a_layer_takes_the_longer_of_its_two_limits() -> None:
    """A linear layer of 8 x 6 moves 54 weights, 8 numbers in and 6 out an image; a ReLU 6 in and 6 out."""
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU())
    slow_arithmetic = Hardware("a", 2000, 1, bandwidth=1e12, flops=1.0)
    assert seconds_at_peak(count_cost(model, (8,), batch=3), slow_arithmetic) == pytest.approx(2 * 3 * 48, rel=1e-6)
    slow_memory = Hardware("b", 2000, 1, bandwidth=1.0, flops=1e12)
    inference, step = (count_cost(model, (8,), batch=3, train=train) for train in (False, True))
    assert seconds_at_peak(inference, slow_memory) == pytest.approx(4 * (54 + 3 * 14) + 4 * 36)
    assert seconds_at_peak(step, slow_memory) == pytest.approx(2 * 4 * (54 + 3 * 14) + 4 * 36)  # no gradient of x


def test_alexnets_training_took_longer_than_at_peak_and_not_ten_times() -> None:
    """Section 5: 90 epochs of 1.2 million images in five to six days on two GTX 580."""
    step = seconds_at_peak(count_cost(build("alexnet"), (3, 227, 227), batch=128, train=True), HARDWARE["gtx_580"])
    days = 90 * 1.2e6 / 128 * step / 2 / 86400
    assert 0.6 < days < 5


def test_a_card_that_is_not_in_the_table_is_told() -> None:
    with pytest.raises(UsageError, match="gtx_580"):
        find_hardware("gtx580")


def test_command_line(lenext: Lenext) -> None:
    out = lenext("cost", "lenet5_relu", "--memory", "--device", "t4").out
    assert "t4 (2018; 16 GiB, 8.10 TFLOP/s in float32, 320 GB/s): a step of 32 fits" in out
    answer = json.loads(lenext("cost", "lenet5_relu", "--memory", "--device", "t4", "--json").out)
    assert answer["limit_bytes"] == 16 * 2**30 and answer["seconds_at_peak"] > 0
    assert "float32 alone" in lenext("cost", "lenet5_relu", "--memory", "--device", "t4", "--precision", "bf16").err
    assert "two limits" in lenext("cost", "lenet5_relu", "--memory", "--device", "t4", "--within", "1GB").err
    assert "are for --memory" in lenext("cost", "lenet5_relu", "--device", "t4").err
