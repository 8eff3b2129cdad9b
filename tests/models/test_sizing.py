"""The written rule by which a row and a size are chosen, case by case."""

import pytest

from lenext.errors import UsageError
from lenext.models.catalog import canonical_name, fits
from lenext.models.sizing import choose_row

# fmt: off
RULE = [
    # model            native  size     row              side   said
    # the asked size, where the row accepts it
    ("resnet20",           28,   32,  "resnet20",          32, "as asked"),
    ("resnet18",           28,   64,  "resnet18",          64, "as asked"),
    ("lenet5",             28,   32,  "lenet5",            32, "as asked"),
    ("resnet18_small",    224,    8,  "resnet18_small",     8, "as asked"),
    # else the paper's, for data of a larger size or of many
    ("resnet20",          224,    0,  "resnet20",          32, "as in its paper; 224x224 images are scaled to that"),
    ("lenet5",            224,    0,  "lenet5",            32, "as in its paper; 224x224 images are scaled to that"),
    ("resnet18",            0,    0,  "resnet18",         224, "as in its paper; images of many sizes are scaled to that"),  # noqa: E501
    # else the data's own size, where the row accepts it
    ("resnet20",           28,    0,  "resnet20",          28, "the size of the data"),
    ("resnet20",            8,    0,  "resnet20",           8, "the size of the data"),
    ("resnet18",          224,    0,  "resnet18",         224, "the size of the data"),
    ("resnet18",           64,    0,  "resnet18",          64, "the size of the data"),
    ("lenet5_dense",       28,    0,  "lenet5_dense",      28, "the size of the data"),
    # else its small row
    ("resnet18",           28,    0,  "resnet18_small",    28, "because resnet18 takes 64 x 64 pixels and larger"),
    ("resnet18",           63,    0,  "resnet18_small",    63, "because resnet18 takes 64 x 64 pixels and larger"),
    ("vgg16_bn",           28,    0,  "vgg16_small",       28, "because vgg16_bn takes 64 x 64 pixels and larger"),
    # else up, or down, to the smallest size that the row accepts
    ("lenet5",             28,    0,  "lenet5",            32, "because it takes 32 x 32 pixels exactly"),
    ("lenet5_relu",         8,    0,  "lenet5_relu",       28, "because it takes 28 x 28 pixels exactly"),
    ("plain18",            28,    0,  "plain18",           64, "because it takes 64 x 64 pixels and larger"),
    ("resnet18",            7,    0,  "resnet18",          64, "because it takes 64 x 64 pixels and larger"),
    # an alias is its row
    ("resnet50_v1_5",     224,    0,  "resnet50",         224, "the size of the data"),
    ("vgg_d",              28,    0,  "vgg16_small",       28, "because vgg16 takes 64 x 64 pixels and larger"),
]
# fmt: on


@pytest.mark.parametrize(("model", "native", "size", "row", "side", "said"), RULE)
def test_rule(model: str, native: int, size: int, row: str, side: int, said: str) -> None:
    assert choose_row(model, native, size) == (row, side, f"{row} at {side}x{side}, {said}")


@pytest.mark.parametrize(("model", "native", "size"), [case[:3] for case in RULE])
def test_what_is_chosen_is_a_row_that_accepts_the_size(model: str, native: int, size: int) -> None:
    row, side, _ = choose_row(model, native, size)
    assert canonical_name(row) == row
    assert fits(row, side)


@pytest.mark.parametrize(("model", "size"), [("lenet5", 28), ("resnet18", 32), ("resnet20", 7), ("resnet20", -1)])
def test_asked_size_that_the_row_refuses_is_never_replaced_by_another(model: str, size: int) -> None:
    with pytest.raises(UsageError) as caught:
        choose_row(model, 28, size)
    assert caught.value.what == f"{model} cannot see {size}x{size} images"
    smallest = {"lenet5": 32, "resnet18": 64, "resnet20": 8}[model]
    assert caught.value.advice == f"--size {smallest}, or no --size"


def test_unknown_network_is_refused() -> None:
    with pytest.raises(UsageError, match="resnet20"):
        choose_row("resnet_20", 28)
