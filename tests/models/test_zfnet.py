"""ZFNet. Oracles: Figure 3 and Table 2 of Zeiler & Fergus 2013, torch's own layers, hand arithmetic."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lenext.errors import UsageError
from lenext.models.catalog import build, get_config, list_models, small_row
from lenext.models.classifier import Classifier

NAMES = list_models("zfnet_*")
FIGURE_3 = {"conv1": 110, "pool1": 55, "conv2": 26, "pool2": 13, "conv3": 13, "conv4": 13, "conv5": 13, "pool5": 6}


def on_meta(name: str) -> Classifier:
    with torch.device("meta"):
        return build(name).eval()


def sizes(model: Classifier, size: int) -> dict[str, int]:
    images = torch.empty(1, 3, size, size, device="meta")
    found = model.features(images, [place for place in model.places() if place != "head"])
    return {place.removeprefix("stages."): x.shape[-1] for place, x in found.items()}


@pytest.mark.parametrize("name", ["zfnet_a", "zfnet_b"])
def test_sizes_are_those_of_figure_3(name: str) -> None:
    assert sizes(on_meta(name), 224) == FIGURE_3


def test_without_the_pixel_of_padding_109_are_left_and_with_three_112() -> None:
    for padding, side in ((0, 109), (1, 110), (3, 112)):
        with torch.device("meta"):
            assert sizes(build("zfnet_a", padding=[padding, 0]), 224)["conv1"] == side


def test_without_rounding_up_the_pools_leave_54_and_not_55() -> None:
    model = on_meta("zfnet_a")
    for module in model.modules():
        if isinstance(module, nn.MaxPool2d):
            module.ceil_mode = False
    found = sizes(model, 224)
    assert (found["pool1"], found["conv2"], found["pool2"]) == (54, 25, 12)


def test_rounding_up_in_cuda_convnet_is_the_same_layer_moved_by_a_pixel() -> None:
    """There nothing is padded and the 110th window reaches over the edge: zeros on the right and at the bottom."""
    conv = build("zfnet_a", in_channels=1).get_submodule("stages.conv1.conv")
    image = torch.randn(1, 1, 224, 224)
    moved = F.pad(image, (1, 0, 1, 0))[..., :224, :224]
    release = F.conv2d(F.pad(moved, (0, 1, 0, 1)), conv.weight, conv.bias, stride=2)  # type: ignore[arg-type]
    ours = conv(image)
    assert release.shape == ours.shape == (1, 96, 110, 110)
    torch.testing.assert_close(release[..., :-1, :-1], ours[..., :-1, :-1])


def test_filters_are_those_of_the_figure_and_of_table_2() -> None:
    def shapes(name: str) -> list[tuple[int, ...]]:
        return [tuple(module.weight.shape) for module in on_meta(name).modules() if isinstance(module, nn.Conv2d)]

    first = [(96, 3, 7, 7), (256, 96, 5, 5)]
    assert shapes("zfnet_a") == [*first, (384, 256, 3, 3), (384, 384, 3, 3), (256, 384, 3, 3)]
    assert shapes("zfnet_b") == [*first, (512, 256, 3, 3), (1024, 512, 3, 3), (512, 1024, 3, 3)]


def test_contrast_is_normalised_behind_the_first_two_pools_with_the_constants_of_alexnet() -> None:
    model = on_meta("zfnet_a")
    x = 100 * torch.randn(1, 8, 7, 7, dtype=torch.float64)
    pooled = F.max_pool2d(x, 3, 2)
    for pool in ("pool1", "pool2"):
        # torch's alpha is of the mean of five squares, the paper of AlexNet's of their sum
        expected = F.local_response_norm(pooled, 5, alpha=5e-4, beta=0.75, k=2.0)
        torch.testing.assert_close(model.get_submodule(f"stages.{pool}")(x), expected)
    assert torch.equal(model.get_submodule("stages.pool5")(x), pooled)


def test_dropout_is_behind_fc6_and_fc7() -> None:
    layers = list(on_meta("zfnet_a").head.children())
    dropped = [layers[i - 2 : i] for i, layer in enumerate(layers) if isinstance(layer, nn.Dropout) and layer.p == 0.5]
    assert [[type(layer) for layer in pair] for pair in dropped] == [[nn.Linear, nn.ReLU]] * 2


def test_fc6_reads_the_last_map_itself_at_the_published_size() -> None:
    head = on_meta("zfnet_a").head
    last = torch.randn(1, 256, 6, 6)
    assert torch.equal(head.get_submodule("pool")(last), last)
    assert head.get_submodule("fc6").in_features == 9216


@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_size_leaves_one_pixel_and_the_next_none(name: str) -> None:
    model = on_meta(name)
    size = get_config(name).min_size
    assert sizes(model, size)["pool5"] == 1
    with pytest.raises(RuntimeError, match="too small"):
        model.stages(torch.empty(1, 3, size - 1, size - 1, device="meta"))


def test_the_small_form_takes_28_and_32_pixels() -> None:
    model = on_meta("zfnet_small")
    assert list(sizes(model, 28).values()) == [14, 7, 4, 2, 2, 2, 2, 1]
    assert list(sizes(model, 32).values()) == [16, 8, 4, 2, 2, 2, 2, 1]
    assert small_row("zfnet_a") == small_row("zfnet_b") == "zfnet_small"


def test_other_than_five_widths_are_refused() -> None:
    with pytest.raises(UsageError, match="it has 5 convolutions"):
        build("zfnet_a", widths=(96, 256))
