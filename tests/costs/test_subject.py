"""What can be asked for its cost. Oracle: the same network, counted as a module."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lenext
from lenext import checkpoint
from lenext.costs.operators import count_cost
from lenext.costs.subject import find_subject
from lenext.errors import UsageError

MINE = """
from __future__ import annotations
from dataclasses import dataclass
import torch
from torch import nn
from beside import WIDTH

def make():
    return nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.Flatten(), nn.Linear(WIDTH * 36, 10))

def reads_a_number():
    rates = [rate.item() for rate in torch.linspace(0, 0.1, 3)]
    return nn.Sequential(nn.Dropout(rates[1]), nn.Flatten(), nn.Linear(192, 10))

def text():
    return "a network"

def broken():
    raise ValueError("no such width")

@dataclass
class Config:
    width: int = 8

number = 3
ready = nn.Sequential(nn.Flatten(), nn.Linear(192, Config().width))
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("WIDTH = 8")
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path / "mine.py"


def test_a_name_is_counted_as_its_paper_has_it_without_weights() -> None:
    subject = find_subject("resnet50")
    assert subject.input_size == (3, 224, 224)
    assert all(tensor.is_meta for tensor in subject.model.state_dict().values())
    assert lenext.cost("resnet50").macs == 4_089_184_256
    assert lenext.cost("resnet50", (3, 64, 96)).macs == count_cost(subject.model, (3, 64, 96)).macs
    assert find_subject("resnet50", size=(64,), classes=10).input_size == (3, 64, 64)
    assert find_subject("resnet50", size=(64, 96)).input_size == (3, 64, 96)
    assert find_subject("lenet5").input_size == (1, 32, 32)


def test_weights_are_drawn_the_same_every_time_and_nothing_else_is() -> None:
    before = torch.get_rng_state()
    first, second = (find_subject("lenet5_relu", data=True).model.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_module_is_counted_on_the_size_that_is_told() -> None:
    model = nn.Sequential(nn.Conv1d(4, 8, 3), nn.Flatten())
    assert lenext.cost(model, (4, 10)).macs == 8 * 8 * 12
    with pytest.raises(UsageError, match="has no size"):
        lenext.cost(model)


def test_a_checkpoint_is_counted_at_its_own_size(tmp_path: Path) -> None:
    model = lenext.build("resnet20", num_classes=7, in_channels=1)
    preprocessing: dict[str, Any] = {"size": [24, 24], "channels": 1}
    card = checkpoint.Card(
        model="resnet20", changes={"num_classes": 7, "in_channels": 1}, classes=tuple("abcdefg"),
        preprocessing=preprocessing, data="digits",
    )  # fmt: skip
    checkpoint.save(tmp_path / "kept", checkpoint.Checkpoint(card=card, weights=model.state_dict()))
    found = lenext.cost(tmp_path / "kept")
    assert found.input_size == (1, 24, 24)
    assert found == count_cost(model, (1, 24, 24))
    assert find_subject(str(tmp_path / "kept"), size=(32,)).input_size == (1, 32, 32)
    with pytest.raises(UsageError, match="trained for its own"):
        find_subject(str(tmp_path / "kept"), classes=3)


def test_a_factory_of_a_file_is_counted_beside_its_neighbours(mine: Path) -> None:
    assert lenext.cost(f"{mine}:make", (3, 8, 8)).params == 8 * 28 + 10 * 289
    assert find_subject(f"{mine}:make").input_size == (3, 224, 224)
    assert lenext.cost(f"{mine}:reads_a_number", (3, 8, 8)).macs == 1920
    assert lenext.cost(f"{mine}:ready", (3, 8, 8)).macs == 192 * 8
    assert not [name for name in sys.modules if name.startswith("lenext_factory")]


@pytest.mark.parametrize(
    ("factory", "why"),
    [
        ("text", "it gives a str"),
        ("broken", "ValueError: no such width"),
        ("number", "no function number"),
        ("absent", "no function absent"),
    ],
)
def test_a_factory_that_makes_no_network_is_told(mine: Path, factory: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        find_subject(f"{mine}:{factory}")


def test_what_is_none_of_these_is_told(tmp_path: Path, mine: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        find_subject(f"{tmp_path / 'absent.py'}:make")
    with pytest.raises(UsageError, match="its file decides"):
        find_subject(f"{mine}:make", classes=3)
    with pytest.raises(UsageError, match="unknown network"):
        find_subject("resnet5")


def test_the_device_for_new_tensors_is_as_before(mine: Path) -> None:
    find_subject(f"{mine}:make")
    assert torch.empty(1).device.type == "cpu"
