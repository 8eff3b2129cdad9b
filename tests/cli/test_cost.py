"""`lenext cost`: layers and advice. Oracle: the totals, and what the rules say of these networks by hand."""

import json

import pytest

from lenext.cli.cost_text import with_unit

from .conftest import Lenext


def test_layers_piped_are_exact_and_sum_to_the_total(lenext: Lenext) -> None:
    heading, *lines = (line.split("\t") for line in lenext("cost", "resnet20", "--layers").out.splitlines())
    rows = [dict(zip(heading, line, strict=True)) for line in lines]
    total = json.loads(lenext("cost", "resnet20", "--json").out)
    for figure in ("params", "macs", "flops", "weight_bytes"):
        assert sum(int(row[figure]) for row in rows) == total[figure]
    assert rows[0] == rows[0] | {"name": "stem.conv1", "output": "16x32x32", "field": "3x3", "jump": "1x1"}


def test_layers_on_a_terminal_fit_it_and_end_in_the_total(lenext: Lenext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for columns in (80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = lenext("cost", "resnet20", "--depth", "2").out.splitlines()
        assert max(map(len, lines)) <= columns
        total = next(line.split() for line in lines if line.startswith("total"))
        assert total[1:4] == ["270k", "40.6M", "81.1M"]  # parameters, MACs, FLOPs


def test_objects_of_layers_and_advice(lenext: Lenext) -> None:
    answer = json.loads(lenext("cost", "vgg11_small", "--size", "64", "--layers", "--advise", "--json").out)
    assert sum(layer["macs"] for layer in answer["layers"]) == answer["macs"]
    assert all(layer["field"] and layer["calls"] == 1 for layer in answer["layers"])
    assert isinstance(answer["advice"], list)


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
