"""AlexNet's two columns on two processes; the oracle is the grouped network on one, in float64."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenext.errors import UsageError
from lenext.models.alexnet import VARIANTS, AlexNet
from lenext.models.catalog import build
from lenext.models.columns import Column
from lenext.models.init import initialise
from lenext.training.distributed import Ranks

from ..ranks import results

NARROW = {"widths": (12, 16, 12, 12, 8), "num_classes": 6, "last_map": 1, "dropout": 0.0}


def whole(row: str) -> AlexNet:
    """A narrow network of the row, with weights large enough that the normalisation matters."""
    with torch.device("meta"):
        model = AlexNet(dataclasses.replace(VARIANTS[row], **NARROW))  # type: ignore[arg-type]
        for name, shape in {"fc6": (8, 32), "fc7": (32, 32), "fc8": (32, 6)}.items():  # 4096 of them only take time
            model.head.add_module(name, nn.Linear(*shape))
    model.to_empty(device="cpu")
    initialise(model, "he_normal", seed=1)
    return model.double()


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    images = 20 * torch.randn(4, 3, 67, 67, generator=generator, dtype=torch.float64)
    return images, torch.tensor([0, 5, 3, 2])


def train(model: torch.nn.Module) -> dict[str, Any]:
    """Two steps of gradient descent: scores before each, gradients of the last, images' gradient, weights."""
    images, targets = data()
    images.requires_grad_()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    found = []
    for _ in range(2):
        optimizer.zero_grad()
        scores = model(images)
        F.cross_entropy(scores, targets).backward()
        optimizer.step()
        found.append(scores.detach().numpy())
    assert images.grad is not None
    gradients = {n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None}
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    return {"scores": found, "gradients": gradients, "weights": weights, "images": images.grad.numpy()}


def train_columns(ranks: Ranks) -> dict[str, Any]:
    return {row: train(Column(whole(row), ranks.rank)) for row in ("alexnet", "caffenet")}


def test_two_columns_on_two_processes_are_the_grouped_network_on_one() -> None:
    columns = results(train_columns, 2)
    for row in ("alexnet", "caffenet"):
        expected = train(whole(row))
        one, other = (column[row] for column in columns)
        assert len(expected["gradients"]) == 16
        for kind in ("gradients", "weights"):
            assert list(one[kind]) == list(expected[kind])
            for name, value in expected[kind].items():
                assert np.abs(value).max() > 0
                halves = np.concatenate((one[kind][name], other[kind][name]))
                np.testing.assert_allclose(halves, value, rtol=0, atol=1e-9 * max(1, np.abs(value).max()), err_msg=name)
        for column in (one, other):
            np.testing.assert_allclose(column["scores"], expected["scores"], rtol=0, atol=1e-9)
        np.testing.assert_allclose(one["images"] + other["images"], expected["images"], rtol=0, atol=1e-9)


def test_a_column_holds_half_of_the_published_parameters() -> None:
    with torch.device("meta"):
        model = build("alexnet")
        assert isinstance(model, AlexNet)
        column = Column(model, 1)
    assert 2 * sum(p.numel() for p in column.parameters()) == sum(p.numel() for p in model.parameters())
    assert column.stages.get_submodule("conv1.conv").out_channels == 48  # figure 2 of the paper
    assert column.head.get_submodule("fc6").out_features == 2048


@pytest.mark.parametrize("row", ["alexnet_owt", "alexnet_small"])
def test_a_network_of_one_column_is_not_split(row: str) -> None:
    with torch.device("meta"), pytest.raises(UsageError, match="two groups"):
        Column(AlexNet(VARIANTS[row]), 0)
