"""What the documents show is what the commands print.

In README.md and docs/, a fenced block `console` holds commands after "$ " and, under each, parts of lines of its output
in their order, white space aside, results on stdout before words on stderr. Each file's commands run in one empty
folder, one after the other. A block under the comment `<!-- slow -->` runs in `make slow`.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from .dying import run_words
from .real_data import lite_weights, photograph, pizza_steak_sushi

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# lenext or Python, with nothing that a shell would do something with
PLAIN = re.compile(r"""(lenext|python -c) ([^|<>;&$*?'"`\\]|'[^']*'|"[^"$`\\]*")*""")
BLOCK = re.compile(r"(?P<slow><!-- slow -->\n)?```console\n(?P<body>.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Command:
    line: str
    shown: tuple[str, ...]  # parts of lines
    slow: bool


def commands(document: Path) -> list[Command]:
    """Every command of a document, with the lines that it is said to print."""
    found = []
    for block in BLOCK.finditer(document.read_text(encoding="utf-8")):
        for part in re.split(r"^\$ ", block["body"], flags=re.MULTILINE)[1:]:
            line, *shown = part.rstrip("\n").split("\n")
            found.append(Command(line, tuple(s for s in shown if s.strip() not in ("", "...")), bool(block["slow"])))
    return found


def run_all(document: Path, folder: Path, *, slow: bool) -> None:
    shutil.copytree(ROOT / "docs", folder / "docs", dirs_exist_ok=True)
    if document.name in ("your-photos.md", "weights.md"):
        with zipfile.ZipFile(pizza_steak_sushi()) as archive:
            archive.extractall(folder / "photos")
    if document.name == "weights.md":
        for file in (lite_weights(0), photograph("chelsea.png"), photograph("coffee.png")):
            shutil.copy(file, folder)
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    threads = {"OMP_NUM_THREADS": "1"}  # for another process tests on the other core, and threads would wait for it
    environment = {**os.environ, **threads, "PATH": beside, "COLUMNS": "120", "NO_COLOR": "1"}
    for command in commands(document):
        if command.slow and not slow:
            continue
        printed = run_command(command, folder, environment)
        assert "Traceback" not in printed, f"{command.line}\n{printed}"
        rest = " ".join(printed.split())
        for line in command.shown:
            words = " ".join(line.split())
            assert words in rest, f"{command.line}\ndoes not print (here):\n{line}\nbut:\n{printed}"
            rest = rest.partition(words)[2]


def run_command(command: Command, folder: Path, environment: Mapping[str, str]) -> str:
    """Results, then words. What takes no minutes runs in a fork that has imported torch, up to a pipe."""
    first, _, rest = command.line.partition(" | ")
    out, err = "", ""
    if not command.slow and PLAIN.fullmatch(first):
        out, err = run_words(shlex.split(first), folder, environment)
    else:
        rest = command.line
    if rest:
        shell = ["bash", "-c", rest]
        done = subprocess.run(
            shell, cwd=folder, env=environment, input=out, capture_output=True, text=True, check=False
        )
        out, err = done.stdout, err + done.stderr
    return out + err


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_print_what_is_shown(document: Path, tmp_path: Path) -> None:
    run_all(document, tmp_path, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("document", [d for d in DOCUMENTS if any(c.slow for c in commands(d))], ids=lambda p: p.name)
def test_slow_commands_print_what_is_shown(document: Path, tmp_path: Path) -> None:
    run_all(document, tmp_path, slow=True)


def test_every_shown_command_asserts_a_line() -> None:
    silent = [(d.name, c.line) for d in DOCUMENTS for c in commands(d) if not c.shown]
    assert silent == []


def test_documents_show_every_verb() -> None:
    from lenext.cli import VERBS

    shown = {c.line.split()[1] for d in DOCUMENTS for c in commands(d) if c.line.startswith("lenext ")}
    assert shown >= set(VERBS)


def test_links_between_documents_lead_somewhere() -> None:
    links = re.compile(r"\]\((?!https?:|#)([^)#]+)")
    documents = [*DOCUMENTS, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
    texts = {document: document.read_text(encoding="utf-8") for document in documents}
    dead = [
        (d.name, link) for d, text in texts.items() for link in links.findall(text) if not (d.parent / link).exists()
    ]
    assert dead == []
