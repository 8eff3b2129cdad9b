"""What is foreseen of an operator is what torch returns: every operator, on arguments in every order."""

import itertools
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from lenext.costs.foreseen import Shape, foresee
from lenext.papers import FAMILIES

from ..models.test_every_family import smallest

aten = torch.ops.aten
UNARY = [aten.relu, aten.sigmoid, aten.silu, aten.gelu, aten.tanh, aten.hardtanh, aten.hardswish, aten.hardsigmoid,
         aten.relu_, aten.silu_, aten.hardtanh_, aten.hardswish_, aten.hardsigmoid_]  # fmt: skip
BINARY = [aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.add_.Tensor, aten.mul_.Tensor]
SHAPES = [(2, 8, 5, 7), (1, 8, 5, 5), (3, 1, 4, 4), (1, 8, 1, 1), (2, 8, 1, 5), (4, 6), (2, 3, 4), (2, 3, 4, 5, 6), ()]
SMALL = [(8, 1, 1), (1, 8, 1, 1), (2, 8, 1, 1), (6,), (1,), (), (5, 5), (4, 1, 1, 1)]


def orders(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Tensors without data of one shape: in order, channels last, permuted, and every second number of a longer one."""
    plain = torch.empty(shape, dtype=dtype, device="meta")
    found = [plain]
    if len(shape) == 4:
        found += [plain.to(memory_format=torch.channels_last), plain.permute(0, 2, 3, 1)]
    if shape:
        found.append(torch.empty((*shape[:-1], 2 * shape[-1]), dtype=dtype, device="meta")[..., ::2])
    return found


def everything() -> list[Tensor]:
    return [x for shape in SHAPES for dtype in (torch.float32, torch.bfloat16) for x in orders(shape, dtype)]


def shape_of(x: Tensor) -> Shape:
    return Shape(tuple(x.shape), x.stride(), x.dtype)


def meaning(shape: Shape) -> tuple[Any, ...]:
    """All but the strides of sides of one place, along which nobody ever steps."""
    return shape.size, [step for size, step in zip(shape.size, shape.stride, strict=True) if size > 1], shape.dtype


def assert_right(func: Any, *args: Any) -> bool:
    """Return whether the result was foreseen at all."""
    foreseen = foresee(func, args)
    if foreseen is None:
        return False
    result = func(*args)
    if foreseen == 0:
        assert result is args[0], func
    elif type(foreseen) is Shape:
        assert meaning(foreseen) == meaning(shape_of(result)), (func, args)
    else:
        assert [meaning(one) for one in foreseen] == [meaning(shape_of(one)) for one in result], (func, args)
    return True


@pytest.mark.parametrize("operator", UNARY, ids=str)
def test_unary(operator: Any) -> None:
    assert sum(assert_right(operator.default, x) for x in everything()) > 20


@pytest.mark.parametrize("func", BINARY, ids=str)
def test_binary(func: Any) -> None:
    """Tensors of all orders with each other, with smaller ones and with numbers; what torch refuses is not foreseen."""
    tensors = [*everything(), *(x for shape in SMALL for x in orders(shape))]
    foreseen = 0
    for a, b in itertools.product(tensors, [*tensors, 2, 0.5]):
        try:
            func(a, b)
        except (RuntimeError, ValueError):
            continue
        foreseen += assert_right(func, a, b)
    assert foreseen > 300


def test_what_torch_refuses_is_not_foreseen() -> None:
    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, device="meta")

    x = empty(2, 8, 5, 5)
    plain: tuple[Any, ...] = ([1, 1], [0, 0], [1, 1], False, [0, 0])
    refused: list[tuple[Any, tuple[Any, ...]]] = [
        (aten.convolution.default, (x, empty(4, 7, 3, 3), None, *plain, 1)),
        (aten.convolution.default, (x, empty(4, 8, 6, 1), None, *plain, 1)),
        (aten.convolution.default, (x, empty(4, 8, 3, 3), None, *plain, 2)),
        (aten.add.Tensor, (x, empty(7, 1, 1))),
        (aten.add.Tensor, (x, empty(2, 8, 5, 4))),
        (aten.add_.Tensor, (empty(8, 1, 1), x)),
        (aten.addmm.default, (empty(7), empty(5, 3), empty(4, 7))),
        (aten.mm.default, (empty(5, 3), empty(4, 7))),
        (aten.addmm.default, (empty(6), empty(5, 3), empty(3, 7))),
        (aten.mean.dim, (x, [4], True)),
        (aten.native_layer_norm.default, (x, [4], None, None, 1e-6)),
        (aten.cat.default, ([x, empty(2, 8, 5, 4)], 1)),
        (aten.cat.default, ([x, x], 4)),
        (aten.cat.default, ([x, empty(2, 8, 5)], 1)),
        (aten.stack.default, ([empty(2, 3), empty(2, 4)], 0)),
        (aten.stack.default, ([empty(2, 3), empty(2, 3)], 5)),
        (aten.mean.dim, (x, [2, -2])),
        (aten.mean.dim, (x.to(torch.int64), [2])),
    ]
    for func, args in refused:
        assert foresee(func, args) is None, func
        with pytest.raises((RuntimeError, ValueError, IndexError)):
            func(*args)


def test_powers_means_and_norms() -> None:
    found = 0
    for x in everything():
        found += assert_right(aten.pow.Tensor_Scalar, x, 0.75)
        sides = [[-1], [0], [-1, -2], [2, 3], list(range(x.ndim))] if x.ndim == 4 else [[0]] if x.ndim else []
        for dims, keep in itertools.product(sides, (True, False)):
            found += assert_right(aten.mean.dim, x, dims, keep)
            found += assert_right(aten.linalg_vector_norm.default, x, 2, dims, keep)
    assert found > 200


def test_a_norm_of_everything_and_of_complex_numbers_is_left_to_torch() -> None:
    """torch leaves out arguments that are as usual; the norm of complex numbers is real."""
    x = torch.empty(2, 3, device="meta")
    assert foresee(aten.linalg_vector_norm.default, (x,)) is None
    assert foresee(aten.linalg_vector_norm.default, (x, 1)) is None
    assert foresee(aten.linalg_vector_norm.default, (x.to(torch.complex64), 2, [1])) is None


def test_convolutions() -> None:
    """In one to three dimensions, grouped, dilated, strided, padded, images in every order; transposed ones are not."""
    found = 0
    for sides, groups, dtype in itertools.product((1, 2, 3), (1, 2, 4), (torch.float32, torch.bfloat16)):
        weight = torch.empty(8, 4 // groups, *(3, 1, 2)[:sides], dtype=dtype, device="meta")
        bias = torch.empty(8, dtype=dtype, device="meta")
        for x in orders((2, 4, *(7, 6, 5)[:sides]), dtype):
            if x.shape[1] != 4:
                continue
            for stride, padding, dilation in itertools.product(([1], [2], [3] * sides), ([0], [1] * sides), ([1], [2])):
                geometry = (stride, padding, dilation, False, [0], groups)
                found += assert_right(aten.convolution.default, x, weight, bias, *geometry)
                found += assert_right(aten.convolution.default, x, weight, None, *geometry)
    assert found > 300
    turned = (torch.empty(2, 8, 5, 5, device="meta"), torch.empty(8, 4, 3, 3, device="meta"), None)
    assert foresee(aten.convolution.default, (*turned, [1], [0], [1], True, [0], 1)) is None


def test_pooling() -> None:
    found = 0
    for x in everything():
        for window, stride, padding, up in itertools.product(([2], [3], [3, 2]), ([], [1], [2]), ([0], [1]), (0, 1)):
            try:
                aten.avg_pool2d.default(x, window, stride, padding, bool(up))
            except (RuntimeError, ValueError, IndexError):
                assert foresee(aten.avg_pool2d.default, (x, window, stride, padding, bool(up))) is None
                continue
            found += assert_right(aten.avg_pool2d.default, x, window, stride, padding, bool(up))
            found += assert_right(aten.max_pool2d_with_indices.default, x, window, stride, padding, [1], bool(up))
    assert found > 100


def test_layer_norm() -> None:
    found = 0
    for x in everything():
        if x.ndim:
            weight = torch.empty(x.shape[-1], device="meta", dtype=x.dtype)
            found += assert_right(aten.native_layer_norm.default, x, [x.shape[-1]], weight, weight, 1e-6)
    assert found > 20


def test_batch_norm_in_evaluation_is_as_on_a_processor() -> None:
    """torch's own rule without data returns statistics that no processor takes."""
    found = 0
    for meta in everything():
        if meta.ndim < 2:
            continue
        x, each = torch.empty_strided(meta.shape, meta.stride(), dtype=meta.dtype).fill_(1), torch.ones(meta.shape[1])
        foreseen = foresee(aten.native_batch_norm.default, (x, each, each, each, each, False, 0.1, 1e-5))
        assert foresee(aten.native_batch_norm.default, (x, each, each, each, each, True, 0.1, 1e-5)) is None
        if foreseen is not None:
            found += 1
            result = aten.native_batch_norm.default(x, each, each, each, each, False, 0.1, 1e-5)
            assert meaning(foreseen[0]) == meaning(shape_of(result[0]))
            assert [one.size for one in foreseen[1:]] == [one.shape for one in result[1:]] == [(0,), (0,)]
    assert found > 15


def test_products_and_joined_parts() -> None:
    found = 0
    a, b, bias = (torch.empty(shape, device="meta") for shape in ((5, 3), (3, 7), (7,)))
    assert assert_right(aten.addmm.default, bias, a, b)
    assert assert_right(aten.mm.default, a, b)
    assert assert_right(aten.addmm.default, bias, a, torch.empty(7, 3, device="meta").t())
    for x, y in itertools.product(everything(), everything()):
        for side in range(x.ndim):
            if x.ndim == y.ndim and x.shape[:side] + x.shape[side + 1 :] == y.shape[:side] + y.shape[side + 1 :]:
                found += assert_right(aten.cat.default, [x, y], side)
                found += assert_right(aten.stack.default, [x, x, x], side)
    assert found > 20


COUNT = """
import sys, lenext
for name in sys.argv[1:]:
    lenext.cost(name)
    assert not {"torch._dynamo", "sympy"} & sys.modules.keys(), name
"""


def test_no_network_needs_torchs_compiler_or_sympy_to_be_counted() -> None:
    """Each takes a second to import: more than all that counting does. LeNet-5's distances to its codes do ask torch,
    and so do windows in three dimensions, which the LRN of ZFNet is made of."""
    names = ["lenet5_relu", *(smallest(family) for family in FAMILIES if family not in ("lenet", "zfnet"))]
    subprocess.run([sys.executable, "-c", COUNT, *names], check=True)
