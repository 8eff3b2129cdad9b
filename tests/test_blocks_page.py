"""docs/blocks.md: every block stands where the table says, and its command draws a place that has it."""

import importlib
import re
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn

from lenext.cli import main
from lenext.models.catalog import build

PAGE = Path(__file__).parent.parent / "docs" / "blocks.md"


class Row(NamedTuple):
    block: str
    formula: str
    where: str
    source: str
    command: str


ROWS = [
    Row(*(cell.strip() for cell in line.strip("|").split("|")))
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and "`lenext.models." in line
]
DRAWN = [row for row in ROWS if row.command]


def found(row: Row) -> object:
    module, _, name = row.where.strip("`").rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_every_block_is_where_the_page_says_and_tells_its_formula_and_source() -> None:
    assert len(ROWS) == 18
    for row in ROWS:
        assert found(row).__doc__, row
        assert "`" in row.formula, row
        assert row.source, row
        assert row.command or "definitions" in row.where, row


@pytest.mark.parametrize("row", DRAWN, ids=lambda row: re.sub(r"\W+", "-", row.block))
def test_the_command_draws_a_place_that_has_the_block(
    row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = row.command.strip("`").split()
    with pytest.raises(SystemExit) as end:
        main(words[1:])
    printed = capsys.readouterr()
    assert end.value.code == 0, printed.err
    assert Path(printed.out.strip()).read_text(encoding="utf-8").startswith("<svg")
    block = found(row)
    if isinstance(block, type) and issubclass(block, nn.Module) and "definitions" not in row.where:
        with torch.device("meta"):
            network = build(words[3])
        assert any(isinstance(module, block) for module in network.get_submodule(words[4]).modules())
