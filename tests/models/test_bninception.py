"""BN-Inception. Oracles: Figure 5 of Ioffe & Szegedy 2015, torch's own pools, hand arithmetic."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lenext.models.catalog import build, small_row
from lenext.models.classifier import Classifier


@pytest.fixture(scope="module")
def paper() -> Classifier:
    with torch.device("meta"):
        return build("bninception_paper").eval()


def convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]


def test_eight_modules_have_seven_convolutions_and_two_that_stride_have_five(paper: Classifier) -> None:
    counts = {name: len(convolutions(stage)) for name, stage in paper.stages.named_children() if name[0].isdigit()}
    assert [name for name, count in counts.items() if count == 5] == ["3c", "4e"]
    assert sum(counts.values()) == 8 * 7 + 2 * 5
    assert len(convolutions(paper)) == 1 + 2 + 66


def test_no_filter_of_a_module_is_larger_than_3x3_and_none_has_a_bias(paper: Classifier) -> None:
    sides = [conv.kernel_size[0] for conv in convolutions(paper)]
    assert sides[0] == 7 and set(sides[1:]) == {1, 3}
    assert all(conv.bias is None for conv in convolutions(paper))
    norms = [layer for layer in paper.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == len(sides)


def test_pools_are_maxima_where_figure_5_says_so(paper: Classifier) -> None:
    maxima = {
        name
        for name, stage in paper.stages.named_children()
        if any(isinstance(layer, nn.MaxPool2d) for layer in stage.modules()) and name[0].isdigit()
    }
    assert maxima == {"3c", "4e", "5b"}


@pytest.mark.parametrize(("name", "channels", "size"), [("3c", 320, 6), ("4e", 608, 5)])
def test_a_striding_module_hands_on_what_it_reads(name: str, channels: int, size: int) -> None:
    module = build("bninception_paper").get_submodule(f"stages.{name}").eval()
    x = torch.randn(1, channels, size, size)
    with torch.no_grad():
        y = module(x)
    assert y.shape[2:] == (3, 3)  # of an odd map too, where pools that round up would give 2
    torch.testing.assert_close(y[:, -channels:], F.max_pool2d(x, 3, 2, 1))


def test_there_are_no_auxiliary_heads_and_no_dropout(paper: Classifier) -> None:
    assert not paper.auxiliary
    assert not any(isinstance(layer, nn.Dropout) for layer in paper.modules())


def test_the_small_form_keeps_one_stride_before_the_modules() -> None:
    with torch.device("meta"):
        model = build("bninception_small").eval()
    found = model.features(torch.empty(1, 3, 28, 28, device="meta"), model.places()[:-1])
    assert [found[f"stages.{name}"].shape[2] for name in ("pool1", "pool2", "3c", "5b")] == [28, 14, 7, 4]
    assert small_row("bninception_paper") == "bninception_small"
