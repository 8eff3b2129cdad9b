"""`lenext models`: filters and order. Oracle: the papers' rows, filtered here by hand."""

import json

import pytest

from lenext.papers import load_papers

from ..conftest import Lenext

ROWS = load_papers().values()


def names(lenext: Lenext, *words: str) -> list[str]:
    answer = lenext("models", *words, "--json")
    assert answer.code == 0, answer.err
    return [row["name"] for row in json.loads(answer.out)]


def test_every_network_is_listed_once(lenext: Lenext) -> None:
    assert names(lenext) == [row.name for row in ROWS]


def test_filters_hold_together(lenext: Lenext) -> None:
    found = names(lenext, "--max-params", "5M", "--max-macs", "0.3G", "--size", "224")
    expected = [r.name for r in ROWS if r.params <= 5e6 and r.macs <= 3e8 and r.input_size[1] == 224]
    assert found == expected and found


def test_family_and_year(lenext: Lenext) -> None:
    assert set(names(lenext, "--family", "vgg")) == {row.name for row in ROWS if row.family == "vgg"}
    assert names(lenext, "--year", "1998") == ["lenet5"]


@pytest.mark.parametrize("key", ["params", "macs", "year"])
def test_order_is_by_the_figure(lenext: Lenext, key: str) -> None:
    answer = json.loads(lenext("models", "--sort", key, "--json").out)
    figures = [row[key] for row in answer]
    assert figures == sorted(figures) and len(set(figures)) > 1


def test_networks_without_a_reported_error_come_last(lenext: Lenext) -> None:
    errors = [row["top1_error"] for row in json.loads(lenext("models", "--sort", "top1", "--json").out)]
    known = [error for error in errors if error is not None]
    assert errors == sorted(known) + [None] * (len(errors) - len(known))


def test_a_row_of_the_table_tells_its_protocol(lenext: Lenext) -> None:
    line = next(line for line in lenext("models", "vgg16").out.splitlines() if line.startswith("vgg16"))
    assert line.split()[:6] == ["vgg16", "vgg", "2014", "138,357,544", "15,470,264,320", "3x224x224"]
    assert "%" in line and "ImageNet" in line


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("--family", "resnets"), "did you mean 'resnet'?"),
        (("--max-params", "many"), "--max-params 5M"),
        (("--max-params", "1"), "no network is like that"),
        (("--sort", "size"), "--sort"),
    ],
)
def test_errors_say_what_to_type(lenext: Lenext, words: tuple[str, ...], hint: str) -> None:
    answer = lenext("models", *words)
    assert answer.code == 2
    assert hint in answer.err
