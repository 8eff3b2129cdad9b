"""`lenext cost`: layers and advice. Oracle: the totals, and what the rules say of these networks by hand."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from lenext.cli.cost_tree import with_unit

from ..conftest import Lenext

TREE = """\
layer       what                 output  params   MACs  FLOPs  activations  FLOP/B  sees
stem        Sequential         16x32x32     464   442k   885k        49.2k     2.6     3
  conv1     Conv2d 3x3         16x32x32     432   442k   885k        16.4k    11.1     3
  bn1       BatchNorm2d        16x32x32      32      0      0        16.4k       -     3
  relu      ReLU               16x32x32       0      0      0        16.4k       -     3
stages      Sequential           64x8x8    269k  40.1M  80.2M         614k    12.6    81
  conv2_x   Sequential         16x32x32   14.0k  14.2M  28.3M         344k     9.4    15
    0 to 2  3 x BasicBlock     16x32x32   14.0k  14.2M  28.3M         344k     9.4    15
  conv3_x   Sequential         32x16x16   51.1k  13.0M  26.0M         180k    14.7    37
    0       BasicBlock         32x16x16   14.0k  3.54M  7.08M        65.5k    11.2    21
    1 to 2  2 x BasicBlock     32x16x16   37.1k  9.44M  18.9M         115k    16.7    37
  conv4_x   Sequential           64x8x8    204k  13.0M  26.0M        90.1k    16.3    81
    0       BasicBlock           64x8x8   55.6k  3.54M  7.08M        32.8k    13.9    49
    1 to 2  2 x BasicBlock       64x8x8    148k  9.44M  18.9M        57.3k    17.4    81
head        Sequential               10     650    640  1.28k           74     0.1   109
  pool      AdaptiveAvgPool2d    64x1x1       0      0      0           64       -   109
  fc        Linear                   10     650    640  1.28k           10     0.4   109
total                                      270k  40.6M  81.1M         664k    12.1
MACs: of convolutions, linear layers and matrix products; 1 MAC = 2 FLOPs.
sees: pixels a side; +: and the whole image through a gate.
n x: modules that are alike, in all; below them is the inside of one.
"""


def test_piped_layers_are_exact_and_sum_to_the_totals(lenext: Lenext) -> None:
    found = lenext("cost", "resnet20")
    heading, *lines = (line.split("\t") for line in found.out.splitlines())
    rows = [dict(zip(heading, line, strict=True)) for line in lines]
    answer = json.loads(lenext("cost", "resnet20", "--json").out)
    for figure in ("params", "macs", "flops", "weight_bytes", "activations", "activation_bytes", "traffic_bytes"):
        assert sum(int(row[figure]) for row in rows) == answer["totals"][figure]
        assert sum(layer[figure] for layer in answer["layers"]) == answer["totals"][figure]
    assert rows[0] == rows[0] | {"name": "stem.conv1", "output": "16x32x32", "receptive_field": "3x3", "jump": "1x1"}
    assert found.err.splitlines()[2:4] == ["parameters   269,722", "MACs         40,551,040"]


def test_comma_separated_layers_hold_the_same(lenext: Lenext) -> None:
    piped = [line.split("\t") for line in lenext("cost", "googlenet_small").out.splitlines()]
    assert list(csv.reader(lenext("cost", "googlenet_small", "--csv").out.splitlines())) == piped


def test_object_has_the_documented_keys(lenext: Lenext) -> None:
    answer = json.loads(lenext("cost", "vgg11_small", "--size", "3x64x96", "--batch", "2", "--json").out)
    assert list(answer) == ["model", "input_size", "batch", "totals", "uncounted", "layers"]
    assert (answer["model"], answer["input_size"], answer["batch"]) == ("vgg11_small", [3, 64, 96], 2)
    assert list(answer["totals"]) == [
        "params", "auxiliary_params", "macs", "flops", "activations", "activation_bytes", "weight_bytes",
        "traffic_bytes",
    ]  # fmt: skip
    first = answer["layers"][0]
    assert first == first | {
        "name": "stages.conv1.conv1_1", "kind": "Conv2d", "calls": 1, "output": [64, 64, 96], "params": 1792,
        "macs": 2 * 64 * 64 * 96 * 27, "flops": 4 * 64 * 64 * 96 * 27, "receptive_field": [3, 3], "jump": [1, 1],
        "start": [-1, -1], "gates": [], "uncounted": {}, "auxiliary": False,
    }  # fmt: skip
    relu = next(layer for layer in answer["layers"] if layer["kind"] == "ReLU")
    assert relu["uncounted"] == {"relu": "elementwise"}


def test_a_step_of_training_is_told_only_where_it_is_asked_for(lenext: Lenext) -> None:
    answer = json.loads(lenext("cost", "lenet5_relu", "--train", "--json").out)
    first = 6 * 28 * 28 * 25
    assert answer["totals"]["training_macs"] == 3 * answer["totals"]["macs"] - first
    assert answer["layers"][0]["training_macs"] == 2 * first
    assert "trained" in lenext("cost", "lenet5_relu", "--train", "--depth", "1").out.splitlines()[0]


def test_tree_folds_what_is_alike(lenext: Lenext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert lenext("cost", "resnet20", "--depth", "3").out.startswith(TREE)


def test_outermost_rows_sum_to_the_total_and_heads_for_training_stand_below(lenext: Lenext) -> None:
    rows = [line.split() for line in lenext("cost", "googlenet", "--depth", "1").out.splitlines()]
    named = [row for row in rows if row[0] in ("stages", "head", "total", "auxiliary")]
    params = {row[0]: next(cell for cell in row if cell.endswith("M")) for row in named}
    assert params == {"stages": "5.60M", "head": "1.02M", "total": "6.62M", "auxiliary": "6.38M"}
    assert list(params)[-1] == "auxiliary"


@pytest.mark.parametrize("columns", [80, 120])
def test_tree_on_a_terminal_fits_it(lenext: Lenext, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = lenext("cost", "resnet20").out.splitlines()
    assert max(map(len, lines)) <= columns
    assert not any(line.startswith("    ") for line in lines)  # two modules deep
    total = next(line.split() for line in lines if line.startswith("total"))
    assert total[1:4] == ["270k", "40.6M", "81.1M"]  # parameters, MACs, FLOPs


def test_six_hundred_blocks_are_a_few_rows(lenext: Lenext) -> None:
    rows = [line.split() for line in lenext("cost", "resnet1202", "--depth", "3").out.splitlines()]
    blocks = [row for row in rows if "x" in row]
    assert [row[:5] for row in blocks[:3]] == [
        ["0", "to", "199", "200", "x"], ["1", "to", "199", "199", "x"], ["1", "to", "199", "199", "x"],
    ]  # fmt: skip


def test_layers_are_drawn(lenext: Lenext, tmp_path: Path) -> None:
    for ending in ("svg", "png", "html"):
        file = tmp_path / f"layers.{ending}"
        assert str(file) in lenext("cost", "lenet5_relu", "--plot", str(file)).err
        again = tmp_path / f"again.{ending}"
        lenext("cost", "lenet5_relu", "--plot", str(again))
        assert file.read_bytes() == again.read_bytes()
    image = np.asarray(Image.open(tmp_path / "layers.png").convert("RGB"))
    bars = (np.abs(image.astype(int) - (0x0B, 0x6E, 0x74)).sum(2) < 30).any(1)
    assert 0.2 < bars.mean() < 0.8


def test_page_of_layers_tells_every_number(lenext: Lenext, tmp_path: Path) -> None:
    layers = json.loads(lenext("cost", "lenet5_relu", "--plot", "layers.html", "--json").out)["layers"]
    text = (tmp_path / "layers.html").read_text(encoding="utf-8")
    titles = re.findall(r'<rect class="touch"[^>]*><title>([^<]*)</title>', text)
    assert len(titles) == len(layers) == text.count("<tr><td>")
    assert (
        titles[0]
        == "stages.c1.conv, Conv2d to 6x28x28: 18,816 bytes written, 156 parameters, 117,600 MACs, 5 pixels seen"
    )
    for title, layer in zip(titles, layers, strict=True):
        assert title.startswith(f"{layer['name']}, {layer['kind']} to ")
        assert f"{layer['params']:,} parameters, {layer['macs']:,} MACs" in title
    assert "<script" not in text


def test_what_is_not_known_has_no_chart(lenext: Lenext, tmp_path: Path) -> None:
    onnx.save(_convolution(), tmp_path / "one.onnx")  # a file of nodes has no receptive fields
    assert lenext("cost", "one.onnx", "--plot", "layers.html").code == 0
    text = (tmp_path / "layers.html").read_text(encoding="utf-8")
    assert [f'id="axes_{number}"' in text for number in (3, 4)] == [True, False]
    assert ": 1,152 bytes written, 216 parameters, 7,776 MACs</title>" in text


def _convolution() -> onnx.ModelProto:
    """3x3, 3 to 8 channels, no bias."""
    weight = numpy_helper.from_array(np.zeros((8, 3, 3, 3), np.float32), "weight")
    image, out = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, channels, side, side))
        for name, channels, side in (("image", 3, 8), ("out", 8, 6))
    )
    graph = helper.make_graph([helper.make_node("Conv", ["image", "weight"], ["out"])], "one", [image], [out], [weight])
    return helper.make_model(graph)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["resnet20", "--plot", "layers.pdf"], "an .svg, .png or .html file"),
        (["resnet20", "--memory", "--depth", "2"], "six answers"),
        (["resnet20", "--advise", "--train"], "six answers"),
        (["resnet20", "--csv", "--json"], "three forms"),
        (["resnet20", "--size", "large"], "whole numbers of pixels"),
        (["resnet20", "--size", "0"], "positive whole numbers"),
        (["resnet20", "--batch", "0"], "a batch has images"),
        (["resnet20", "--json", "--depth", "2"], "three forms"),
        (["resnet20", "--advise", "--batch", "2"], "not for --advise"),
        (["resnet20", "--within", "8GB"], "are for --memory"),
        (["--spec", "8x8x3: fc10", "--batch", "2"], "are for a model"),
        ([], "one of them"),
    ],
)
def test_what_cannot_be_answered_is_refused(lenext: Lenext, words: list[str], why: str) -> None:
    found = lenext("cost", *words)
    assert found.code == 2
    assert why in found.err


def test_an_image_that_does_not_fit_a_network_of_ones_own_is_told(lenext: Lenext, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\nnet = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))\nnone = nn.Identity()\n"
    )
    found = lenext("cost", "mine.py:net")
    assert found.code == 2 and "cannot run mine.py:net on 3x224x224" in found.err and "--size" in found.err
    for words in ([], ["--depth", "0"], ["--latency", "--depth", "1"], ["--csv"]):
        assert lenext("cost", "mine.py:none", "--size", "8", *words).code == 0


def test_memory_has_the_documented_keys(lenext: Lenext) -> None:
    answer = json.loads(lenext("cost", "lenet5_relu", "--memory", "--within", "1GB", "--json").out)
    figures = ["weights", "gradients", "optimizer", "images", "activations", "saved", "inference", "training"]
    assert list(answer) == [
        "model", "input_size", "optimizer", "precision", "batch", *(f"{name}_bytes" for name in figures), "limit_bytes",
        "largest_batch",
    ]  # fmt: skip


def test_advice_as_an_object(lenext: Lenext) -> None:
    answer = json.loads(lenext("cost", "vgg16", "--advise", "--json").out)
    assert [one["kind"] for one in answer["advice"]] == ["NarrowField"]


def test_advice_names_place_numbers_and_source(lenext: Lenext) -> None:
    first, second = lenext("cost", "vgg16", "--advise").out.splitlines()
    assert first == "stages.conv5: sees 212 of 224 pixels a side"
    assert "Araujo et al. 2019" in second


def test_no_advice_is_said_too(lenext: Lenext) -> None:
    assert lenext("cost", "resnet18", "--advise").out.startswith("nothing to say: ")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00k"),
        (12_345, "12.3k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (9_996, "10.0k"),
    ],
)
def test_three_digits_and_a_unit(number: int, text: str) -> None:
    assert with_unit(number) == text
