"""The winners of ILSVRC. Oracle: the networks' own rows, the layers of the built networks, the bars of the drawing."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lenext.models.catalog import build
from lenext.papers import load_papers
from lenext.papers.ilsvrc import Entry, load_challenge
from lenext.reporting.winners import TITLE, describe, draw_winners, render_winners

from ..conftest import Lenext

ENTRIES = load_challenge().entries
BUILT = [entry for entry in ENTRIES if entry.network]


@pytest.fixture(scope="module")
def svg() -> str:
    return draw_winners(load_challenge(), TITLE, "svg").decode()


def test_every_year_has_one_winner_and_errs_less_than_the_year_before() -> None:
    winners = [entry for entry in ENTRIES if entry.won]
    assert [entry.year for entry in winners] == list(range(2010, 2018))
    errors = [entry.top5_error for entry in winners]
    assert errors == sorted(errors, reverse=True)
    for entry in ENTRIES:
        assert entry.source and bool(entry.layers) == bool(entry.layers_source) != bool(entry.no_layers)
        assert entry.outside_error is None or entry.outside_error < entry.top5_error
        assert entry.won or entry.top5_error > next(one.top5_error for one in winners if one.year == entry.year)


@pytest.mark.parametrize("entry", [pytest.param(one, id=one.team) for one in BUILT])
def test_depth_is_that_of_the_network(entry: Entry) -> None:
    """Layers with weights but for projections, gates and auxiliary heads, as the papers count; of branches two."""
    with torch.device("meta"):
        network = build(str(entry.network))
    weighed = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    main = [name for name in weighed if not re.search(r"^auxiliary\.|\.shortcut\.|\.se\.|\.branch", name)]
    modules = {name.split(".")[1] for name in weighed if ".branch" in name}
    assert len(main) + 2 * len(modules) == entry.layers


def test_errors_are_those_of_the_networks_papers() -> None:
    told = {entry.team: {result.top5_error for result in load_papers()[str(entry.network)].results} for entry in BUILT}
    agree = {entry.team for entry in BUILT if entry.top5_error in told[entry.team]}
    assert agree == {"AlexNet", "ZFNet", "GoogLeNet"}  # the others' rows hold no entry of several networks
    senet, before = (next(one.top5_error for one in ENTRIES if one.won and one.year == year) for year in (2017, 2016))
    assert 1 - senet / before == pytest.approx(0.25, abs=0.005)  # as the abstract of Hu et al. 2017 tells


@pytest.mark.parametrize(("key", "heights"), [("error", [entry.top5_error for entry in ENTRIES]),
                                             ("depth", [entry.layers or 0 for entry in ENTRIES])])  # fmt: skip
def test_bars_are_as_high_as_their_figures(svg: str, key: str, heights: list[float]) -> None:
    drawn = []
    for number in range(len(ENTRIES)):
        path = re.search(rf'<g id="{key}-{number}">\s*<path d="([^"]*)"', svg)
        assert path
        ys = [float(y) for y in re.findall(r"[ML] [\d.]+ ([\d.]+)", path[1])]
        drawn.append(max(ys) - min(ys))
    assert np.array(drawn) / max(drawn) == pytest.approx(np.array(heights) / max(heights), abs=1e-4)


def test_page_tells_every_entry_twice_and_is_offline() -> None:
    text = render_winners(load_challenge()).decode()
    assert "<script" not in text and 'src="' not in text
    for number, entry in enumerate(ENTRIES):
        for key in ("error", "depth"):
            assert f'<g id="{key}-{number}"><title>{entry.team}, {entry.year}' in text
    assert describe(ENTRIES[2]).startswith(
        "AlexNet, 2012, won: 16.4 % top-5 error (15.3 % with other images), 8 layers; "
    )


def test_command_lists_and_draws(svg: str, lenext: Lenext, tmp_path: Path) -> None:
    answer = json.loads(lenext("compare", "--winners", "--json", "--out", "winners.svg").out)
    assert [(one["year"], one["layers"]) for one in answer if one["won"]][-3:] == [
        (2015, 152),
        (2016, None),
        (2017, 154),
    ]
    assert (tmp_path / "winners.svg").read_text(encoding="utf-8") == svg
    assert lenext("compare", "--winners").out.splitlines()[6].split()[:4] == ["2014", "GoogLeNet", "yes", "6.67"]
