"""docs/models is what docs/make_model_pages.py makes of the package as it is; `make docs` writes it."""

import functools
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lenext.models.catalog import FAMILIES, VARIANTS
from lenext.papers import load_papers

DOCS = Path(__file__).parent.parent / "docs"
FOLDER = DOCS / "models"
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


@functools.cache
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_model_pages", DOCS / "make_model_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@functools.cache
def page(family: str) -> str:
    return (FOLDER / f"{family}.md").read_text(encoding="utf-8")


def test_pages_and_drawings_are_freshly_made() -> None:
    made = script().pages()
    there = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert set(there) == set(made)
    stale = [name for name in made if there[name] != made[name]]
    assert stale == [], "make docs"


def test_every_family_has_a_page_and_drawings() -> None:
    assert set(script().PAGES) == set(FAMILIES)
    for family in FAMILIES:
        assert f"]({family}.md)" in (FOLDER / "README.md").read_text(encoding="utf-8")
        assert ".svg)" in page(family)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_page_names_every_row_with_its_published_figures(family: str) -> None:
    papers = load_papers()
    for name in FAMILIES[family].variants:
        row = re.search(rf"^\| `{re.escape(name)}`.*$", page(family), re.MULTILINE)
        assert row is not None, name
        assert f"{papers[name].params:,}" in row[0]
        assert f"{papers[name].macs:,}" in row[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_page_cites_every_paper_and_says_each_difference_once(family: str) -> None:
    for name in FAMILIES[family].variants:
        row = load_papers()[name]
        assert row.title in page(family)
        assert row.arxiv is None or f"arxiv.org/abs/{row.arxiv}" in page(family)
        for line in row.differences:
            assert page(family).count(f"\n- {script().marked(line)}\n") == 1


def test_every_local_link_and_picture_exists() -> None:
    for path in FOLDER.glob("*.md"):
        for link in LINK.findall(path.read_text(encoding="utf-8")):
            assert (FOLDER / link).exists(), (path.name, link)


def test_tables_have_one_number_of_cells() -> None:
    for path in FOLDER.glob("*.md"):
        for table in re.findall(r"(?:^\|.*\n)+", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, path.name


def test_a_docstrings_columns_become_a_list() -> None:
    doc = """Net (A 2014, "T").

It has x_y and 2**i:
  *_bn      one
            goes on
  a longer name too
  other     two

Last."""
    assert script().prose(doc, cited=True) == (
        "It has `x_y` and `2**i`:\n\n- `*_bn`: one goes on\n- **a longer name**: too\n- **other**: two\n\nLast."
    )


def test_drawn_rows_are_the_familys_own() -> None:
    for family, drawn in script().PAGES.items():
        assert {block.row for block in drawn.blocks} <= set(FAMILIES[family].variants) <= set(VARIANTS)
