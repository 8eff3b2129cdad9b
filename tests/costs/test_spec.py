"""Textbook questions in one line. Oracles: numbers by hand, torch's own forward pass, the formulas evaluated."""

import random
import re

import pytest
import torch

from lenext.cli import main
from lenext.costs.operators import count_cost
from lenext.costs.spec import EXAMPLE, read_spec
from lenext.errors import UsageError

QUESTION = (
    "100x100x3: conv9x9-48 relu, conv9x9-96 pad4 relu, conv5x5-192 stride2 relu, maxpool2 stride2, conv1x1-256, fc100"
)


def test_the_exercise_by_hand() -> None:
    image, _, rows = read_spec(QUESTION)
    assert image == (3, 100, 100)
    found = {row.text: (row.shape, row.params, row.macs) for row in rows if row.text != "relu"}
    assert found == {
        "conv9x9-48": ((48, 92, 92), 48 * (243 + 1), 92 * 92 * 48 * 243),
        "conv9x9-96 pad4": ((96, 92, 92), 96 * (3888 + 1), 92 * 92 * 96 * 3888),
        "conv5x5-192 stride2": ((192, 44, 44), 192 * (2400 + 1), 44 * 44 * 192 * 2400),
        "maxpool2 stride2": ((192, 22, 22), 0, 0),
        "conv1x1-256": ((256, 22, 22), 256 * 193, 22 * 22 * 256 * 192),
        "flatten": ((123904,), 0, 0),
        "fc100": ((100,), 12_390_500, 12_390_400),
    }


def test_the_textbooks_lenet_is_the_catalogs() -> None:
    spec = "28x28x1: conv5-6 pad2 sigmoid, avgpool2, conv5-16 sigmoid, avgpool2, fc120 sigmoid, fc84 sigmoid, fc10"
    image, network, _ = read_spec(spec)
    cost = count_cost(network, image)
    assert (cost.params, cost.macs) == (61_706, 416_520)


def random_spec(seed: int) -> str:
    draw = random.Random(seed)
    image = f"{draw.randint(60, 80)}x{draw.randint(60, 80)}x{draw.choice((2, 4))}"
    layers = [f"{image}: conv{draw.choice((1, 3, 5))}-4 same relu"]
    for _ in range(draw.randint(1, 4)):
        kernel = f"{draw.randint(1, 3)}x{draw.randint(1, 3)}"
        options = [f"stride{draw.randint(1, 2)}", f"pad{draw.randint(0, 2)}", f"dilation{draw.randint(1, 2)}"]
        options += [draw.choice(("groups2", "nobias", "norm", "tanh"))]
        draw.shuffle(options)
        layers.append(f"conv{kernel}-{draw.choice((4, 8))} {' '.join(options[: draw.randint(0, 4)])}")
        layers.append(draw.choice(("maxpool2x1", "maxpool1x2 stride1", "avgpool3 pad1 stride2", "relu", "norm")))
    return ", ".join([*layers, draw.choice(("globalpool, fc7 nobias", "fc9 sigmoid, fc3"))])


@pytest.mark.parametrize("seed", range(25))
def test_rows_are_what_torch_makes_and_what_is_counted(seed: int) -> None:
    image, network, rows = read_spec(random_spec(seed))
    x = torch.zeros(2, *image)
    for layer, row in zip(network.eval(), rows, strict=True):
        x = layer(x)
        assert tuple(x.shape[1:]) == row.shape, row.text
    counted = {layer.name: (layer.params, layer.macs) for layer in count_cost(network, image).layers}
    found = {row.name: (row.params, row.macs) for row in rows}
    assert {name: found[name] for name in counted} == counted
    assert not any(any(found[name]) for name in found.keys() - counted.keys())


@pytest.mark.parametrize("seed", range(25))
def test_formulas_are_true(seed: int) -> None:
    for row in read_spec(random_spec(seed))[2]:
        for formula in row.how:
            if " = " in formula:
                name, left, right = re.fullmatch(r"(\w+): (.*) = ([\d,]+)(?:, rounded down)?", formula).groups()  # type: ignore[union-attr]
                value = eval(left.replace(" / ", " // "), {})  # digits and operators of our own making
                assert value == int(right.replace(",", "")), formula
                sides = {
                    "side": row.shape[-1],
                    "width": row.shape[-1],
                    "height": row.shape[-2:][0],
                    "numbers": row.shape[0],
                }
                assert value == {**sides, "parameters": row.params, "MACs": row.macs}[name]


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 2), (7, 3)])
def test_same_is_the_side_by_the_stride_rounded_up(kernel: int, stride: int) -> None:
    for side in range(8, 15):
        assert read_spec(f"{side}x{side}x3: conv{kernel}-4 same stride{stride}")[2][0].shape[1] == -(-side // stride)


def test_a_pool_goes_by_its_window() -> None:
    assert read_spec("12x12x3: maxpool2x3")[2][0].shape == (3, 6, 4)


def test_a_side_that_leaves_a_rest_is_rounded_down_and_said() -> None:
    rows = read_spec("12x12x3: conv5-8 stride2")[2]
    assert rows[0].how[0] == "side: (12 + 2*0 - 5) / 2 + 1 = 4, rounded down"
    assert [one.partition(":")[0] for one in read_spec("12x10x3: maxpool2")[2][0].how] == ["height", "width"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("", "no image"),
        ("32x32: fc10", "no image"),
        ("32x32x3:", "no image"),
        ("32x32x3: fc10,", "one of them is empty"),
        ("32x32x3: con3x3-5", "no layer and no option"),
        ("32x32x3: conv3x3-5 pud1", "no layer and no option"),
        ("32x32x3: conv3x3-5 pad", "takes a number"),
        ("32x32x3: fc10x10", "no layer and no option"),
        ("32x32x3: conv0x3-5", "no layer and no option"),
        ("32x32x3: conv3x3", "has filters"),
        ("32x32x3: maxpool2-4", "has filters"),
        ("32x32x3: conv3x3-4 groups2", "groups 2, of 3 channels"),
        ("32x32x3: conv3x3-4 stride0", "stride 0"),
        ("32x32x3: conv33-4", "does not go over 32"),
        ("32x32x3: maxpool2 pad2", "more than half of a window of 2"),
        ("32x32x3: conv4x4-8 same", "padded unevenly"),
        ("32x32x3: conv3x3-4 same pad1", "said beside another"),
        ("32x32x3: conv3x3-4 stride2 stride3", "said beside another"),
        ("32x32x3: conv3x3-4 fc10", "it is a layer, and no option"),
        ("32x32x3: fc10, conv3x3-4", "no map any more"),
        ("32x32x3: fc10 pad1", "takes no pad"),
        ("32x32x3: relu stride2", "takes no stride"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(spec: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_spec(spec)
    assert said in caught.value.why


def test_the_example_of_the_errors_works() -> None:
    assert read_spec(EXAMPLE)[2][-1].shape == (10,)


def test_command_line_prints_numbers_and_formulas(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["cost", "--spec", QUESTION, "--explain"])
    printed = capsys.readouterr().out
    assert caught.value.code == 0
    lines = [line.split() for line in printed.splitlines()]
    assert ["total", "13,285,956", "4,186,183,936"] in lines
    assert "    MACs: 92*92*48 * 9*9*3 = 98,724,096" in printed
    with pytest.raises(SystemExit):
        main(["cost", "--spec", QUESTION])
    assert "MACs: 92" not in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["vgg16", "--spec", EXAMPLE], ["vgg16", "--explain"]])
def test_a_model_or_a_spec_is_asked_for(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["cost", *words])
    assert caught.value.code == 2
    assert "cannot tell what to count" in capsys.readouterr().err


def test_random_specs_differ() -> None:
    assert len(set(map(random_spec, range(25)))) == 25
