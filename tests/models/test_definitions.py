"""Operations from their definitions. Oracles: torch, numpy.convolve, hand arithmetic, finite differences."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lenext.errors import UsageError
from lenext.models.definitions import (
    BatchNorm,
    LocallyConnected,
    convolution,
    cross_correlation,
    locally_connected,
    output_size,
    response_norm_within_channels,
)

TORCHS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
SIZE, KERNEL = (9, 8, 7), (3, 2, 4)
# fmt: off
NUMBERS: list[dict[str, Any]] = [
    {},
    {"stride": 2, "padding": 1},
    {"stride": 3, "dilation": 2, "padding": 3},
    {"groups": 2, "padding": 2},
    {"groups": 4, "stride": 2},
]
# fmt: on


def drawn(*shape: int, seed: int = 0, grad: bool = False) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.requires_grad_(grad)


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("numbers", NUMBERS, ids=str)
def test_cross_correlation_is_torchs_convolution(axes: int, numbers: dict[str, Any]) -> None:
    x, bias = drawn(2, 4, *SIZE[:axes]), drawn(8, seed=2)
    weight = drawn(8, 4 // numbers.get("groups", 1), *KERNEL[:axes], seed=1)
    close(cross_correlation(x, weight, bias, **numbers), TORCHS[axes](x, weight, bias, **numbers))


def test_each_axis_may_have_its_own_stride_padding_and_dilation() -> None:
    x, weight = drawn(1, 2, 9, 11), drawn(3, 2, 3, 4, seed=1)
    numbers: dict[str, Any] = {"stride": (1, 2), "padding": (0, 3), "dilation": (2, 1)}
    close(cross_correlation(x, weight, **numbers), F.conv2d(x, weight, **numbers))


def test_cross_correlation_slides_the_kernel_as_it_is_and_convolution_flips_it() -> None:
    """An impulse under cross-correlation gives the kernel backwards; under convolution, the kernel: by hand."""
    impulse = torch.tensor([[[0.0, 0.0, 1.0, 0.0, 0.0]]])
    kernel = torch.tensor([[[1.0, 2.0, 3.0]]])
    assert cross_correlation(impulse, kernel).tolist() == [[[3.0, 2.0, 1.0]]]
    assert convolution(impulse, kernel).tolist() == [[[1.0, 2.0, 3.0]]]


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("numbers", NUMBERS, ids=str)
def test_convolution_is_torchs_with_the_kernel_flipped_along_every_axis(axes: int, numbers: dict[str, Any]) -> None:
    x, bias = drawn(2, 4, *SIZE[:axes]), drawn(8, seed=2)
    weight = drawn(8, 4 // numbers.get("groups", 1), *KERNEL[:axes], seed=1)
    backwards = torch.from_numpy(np.flip(weight.numpy(), tuple(range(2, 2 + axes))).copy())
    close(convolution(x, weight, bias, **numbers), TORCHS[axes](x, backwards, bias, **numbers))


@pytest.mark.parametrize(("mode", "padding"), [("full", 4), ("valid", 0), ("same", 2)])
def test_convolution_of_one_axis_is_numpys(mode: Any, padding: int) -> None:
    x, kernel = drawn(11), drawn(5, seed=1)
    ours = convolution(x.view(1, 1, -1), kernel.view(1, 1, -1), padding=padding).flatten()
    np.testing.assert_allclose(ours.numpy(), np.convolve(x.numpy(), kernel.numpy(), mode), rtol=1e-12)


def test_convolution_commutes_and_cross_correlation_does_not() -> None:
    """Equation 9.5, on images of one size with all of the overlap."""
    a, b = drawn(1, 1, 4, 4), drawn(1, 1, 4, 4, seed=1)
    close(convolution(a, b, padding=3), convolution(b, a, padding=3))
    assert not torch.allclose(cross_correlation(a, b, padding=3), cross_correlation(b, a, padding=3))


def test_gradient_by_the_image_is_the_full_convolution_with_the_kernel() -> None:
    x, weight, above = drawn(1, 1, 6, 7, grad=True), drawn(1, 1, 3, 2, seed=1), drawn(1, 1, 4, 6, seed=2)
    (gradient,) = torch.autograd.grad(cross_correlation(x, weight), x, above)
    close(gradient, convolution(above, weight, padding=(2, 1)))


@pytest.mark.parametrize("operation", [cross_correlation, convolution])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_gradients_of_both_are_those_of_finite_differences(operation: Callable[..., Tensor], axes: int) -> None:
    inputs = (drawn(2, 2, *(4,) * axes, grad=True), drawn(2, 1, *(2,) * axes, seed=1, grad=True))
    bias = drawn(2, seed=2, grad=True)
    assert torch.autograd.gradcheck(
        lambda x, w, b: operation(x, w, b, stride=2, padding=1, dilation=2, groups=2), (*inputs, bias)
    )


@pytest.mark.parametrize(
    ("x", "weight", "groups", "told"),
    [
        ((1, 3, 5), (4, 2, 3), 1, "groups of 1"),
        ((1, 1, 5), (4, 2, 3), 1, "groups of 1"),  # einsum would repeat the one channel
        ((1, 4, 5), (3, 2, 3), 2, "groups of 2"),
        ((1, 4, 5), (4, 4, 3, 3), 1, "axes"),
        ((1, 4, 5), (4, 4, 7), 1, "padding of 1"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(x: Any, weight: Any, groups: int, told: str) -> None:
    with pytest.raises(UsageError, match="cannot convolve") as error:
        cross_correlation(torch.ones(x), torch.ones(weight), groups=groups)
    assert told in str(error.value)


def test_output_size_by_hand() -> None:
    assert output_size(224, 7, 2, 3) == 112  # the first layer of ResNet
    assert output_size(227, 11, 4) == 55  # of AlexNet
    assert output_size(7, 3, 2, 0, 3) == 1  # Dumoulin & Visin's figure 5.1 has 7, 3, stride 1, dilation 2: 3
    assert output_size(7, 3, 1, 0, 2) == 3


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1), (3, 2)])
def test_locally_connected_is_a_matrix_product_at_every_place(stride: int, padding: int) -> None:
    """F.unfold lays each window out as a column; every column meets a matrix of its own."""
    layer = LocallyConnected(2, 3, (7, 6), 3, stride, padding).double()
    x = drawn(4, 2, 7, 6)
    columns = F.unfold(x, 3, stride=stride, padding=padding)  # (N, C * KH * KW, places)
    matrices = layer.weight.flatten(3).flatten(1, 2)  # (O, places, C * KH * KW)
    by_hand = torch.stack(
        [columns[:, :, place] @ matrices[:, place].T for place in range(columns.shape[2])], dim=2
    ) + layer.bias.flatten(1)
    close(layer(x).flatten(2), by_hand)


def test_locally_connected_with_one_kernel_everywhere_is_convolution() -> None:
    x, weight = drawn(2, 3, 8, 5), drawn(4, 3, 3, 3, seed=1)
    tied = weight[:, None, None].expand(-1, 4, 3, -1, -1, -1)
    close(locally_connected(x, tied, stride=2, padding=1), F.conv2d(x, weight, stride=2, padding=1))


def test_locally_connected_has_a_kernel_and_a_bias_for_every_place() -> None:
    layer = LocallyConnected(3, 64, (32, 32), 5)
    assert sum(p.numel() for p in layer.parameters()) == 28 * 28 * 64 * (3 * 5 * 5 + 1)


def test_gradients_of_locally_connected_are_those_of_finite_differences() -> None:
    x, weight, bias = drawn(2, 2, 4, 3, grad=True), drawn(2, 2, 2, 2, 3, 2, grad=True), drawn(2, 2, 2, grad=True)
    assert torch.autograd.gradcheck(lambda x, w, b: locally_connected(x, w, b, stride=2, padding=1), (x, weight, bias))


def test_locally_connected_takes_images_of_its_own_size_only() -> None:
    with pytest.raises(UsageError, match="cannot connect an image of"):
        LocallyConnected(2, 3, (7, 6), 3)(torch.zeros(1, 2, 8, 6))


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (4, 3, 5, 2), (2, 3, 2, 3, 2)], ids=str)
def test_batch_norm_is_torchs_in_training_with_its_running_statistics_and_in_evaluation(shape: Any) -> None:
    ours = BatchNorm(3, eps=1e-3, momentum=0.3).double()
    with torch.no_grad():
        ours.gamma.copy_(drawn(3, seed=1))
        ours.beta.copy_(drawn(3, seed=2))
    mean, variance = torch.zeros(3).double(), torch.ones(3).double()
    for step in range(3):
        x = drawn(*shape, seed=10 + step) * 2 + 5
        theirs = F.batch_norm(x, mean, variance, ours.gamma, ours.beta, training=True, momentum=0.3, eps=1e-3)
        close(ours(x), theirs)
        close(ours.running_mean, mean)
        close(ours.running_var, variance)
    close(ours.eval()(x), F.batch_norm(x, mean, variance, ours.gamma, ours.beta, eps=1e-3))


def test_batch_norm_by_hand() -> None:
    """Mean 4; variance 8/4 = 2 in the batch, 8/3 in the running average."""
    layer = BatchNorm(1, eps=0.0, momentum=1.0)
    y = layer(torch.tensor([[2.0], [4.0], [4.0], [6.0]]))
    close(y.flatten().double(), torch.tensor([-(2**0.5), 0, 0, 2**0.5]).double())
    assert layer.running_mean.item() == 4
    assert layer.running_var.item() == pytest.approx(8 / 3)


def test_gradients_of_batch_norm_flow_through_its_statistics() -> None:
    layer = BatchNorm(2).double()
    inputs = (drawn(3, 2, 2, 2, grad=True), drawn(2, seed=1, grad=True), drawn(2, seed=2, grad=True))

    def normalised(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(layer, {"gamma": gamma, "beta": beta}, (x,))
        return y

    assert torch.autograd.gradcheck(normalised, inputs)
    shifted = layer(inputs[0] * 3 + 7).sum()  # a sum of normalised values is zero, whatever the images
    close(torch.autograd.grad(shifted, inputs[0])[0], torch.zeros(3, 2, 2, 2).double())


def test_batch_norm_needs_two_values_a_channel() -> None:
    with pytest.raises(UsageError, match="one value"):
        BatchNorm(3)(torch.ones(1, 3, 1, 1))


@pytest.mark.parametrize("size", [3, 5])
def test_response_norm_within_channels_is_the_sum_over_the_square_around(size: int) -> None:
    x, n = drawn(2, 3, 6, 5) * 10, size // 2
    expected = torch.empty_like(x)
    for i in range(6):
        for j in range(5):
            around = x[:, :, max(0, i - n) : i + n + 1, max(0, j - n) : j + n + 1]
            energy = around.square().sum((2, 3))
            expected[:, :, i, j] = x[:, :, i, j] / (1 + 0.01 / size**2 * energy) ** 0.75
    close(response_norm_within_channels(x, size, 0.01, 0.75), expected)


def test_response_norm_within_channels_divides_by_the_pooled_squares_as_in_caffe() -> None:
    x = drawn(2, 3, 7, 7) * 10
    mean_of_squares = F.avg_pool2d(x.square(), 3, 1, padding=1, count_include_pad=True)
    close(response_norm_within_channels(x, 3, 5e-2, 0.75, 2.0), x / (2 + 5e-2 * mean_of_squares) ** 0.75)


def test_gradients_of_response_norm_within_channels_are_those_of_finite_differences() -> None:
    x = drawn(2, 2, 4, 3, grad=True)
    assert torch.autograd.gradcheck(lambda x: response_norm_within_channels(x, 3, 0.5, 0.75), (x,))


def test_response_norm_within_channels_needs_a_middle() -> None:
    with pytest.raises(UsageError, match="even"):
        response_norm_within_channels(torch.ones(1, 1, 4, 4), 4, 1.0, 0.75)
