"""`lenext weights`: list, import, get. Oracles: the file's own numbers, a server on this machine."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import safetensors.torch
import torch

from ..conftest import Lenext
from ..weights.names import resnet18_tensors


@pytest.fixture
def file(lenext: Lenext) -> str:
    torch.save(resnet18_tensors(), "resnet18-f37072fd.pth")
    return "resnet18-f37072fd.pth"


def test_import_tells_what_came_over_and_the_checkpoint_predicts(lenext: Lenext, file: str) -> None:
    answer = lenext("weights", "import", file, "--model", "resnet18", "--out", "net")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines() == [
        "122 of 122 tensors from torchvision",
        "fed with 224x224 pixels, 0.875 of the shorter side, bilinear",
        "net",
    ]
    picture = Path(__file__).parents[2] / "docs" / "digit-3.png"
    rows = json.loads(lenext("predict", "net", str(picture), "--json").out)
    assert len(rows[0]["top5"]) == 5


def test_import_as_json(lenext: Lenext, file: str) -> None:
    words = ("weights", "import", file, "--model", "resnet18", "--from", "timm", "--out", "net", "--json")
    told = json.loads(lenext(*words).out)
    assert (told["taken"], told["of"], told["source"], told["preprocessing_assumed"]) == (122, 122, "timm", True)


def test_list_tells_what_others_publish(lenext: Lenext) -> None:
    lines = lenext("weights", "resnet18").out.splitlines()
    assert lines[0].split() == ["name", "from", "tag", "size", "classes", "top-1"]
    assert ["resnet18", "torchvision", "IMAGENET1K_V1", "224", "1,000", "69.76", "%"] in [
        line.split() for line in lines
    ]
    rows = json.loads(lenext("weights", "resnet18", "--json").out)
    assert {row["source"] for row in rows} == {"torchvision", "timm"}


def test_get_makes_a_checkpoint_of_what_the_hub_sends(lenext: Lenext, monkeypatch: pytest.MonkeyPatch) -> None:
    content = safetensors.torch.save(resnet18_tensors())
    digest = hashlib.sha256(content).hexdigest()
    entry = {"path": "model.safetensors", "lfs": {"oid": digest, "size": len(content)}}
    answers = {
        "/api/models/timm/resnet18.a3_in1k/tree/main": json.dumps([entry]).encode(),
        "/timm/resnet18.a3_in1k/resolve/main/model.safetensors": content,
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answers[self.path])

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
        answer = lenext("weights", "get", "resnet18", "--tag", "resnet18.a3_in1k")
        server.shutdown()
    assert answer.code == 0, answer.err
    assert answer.out.splitlines() == [
        "122 of 122 tensors from timm",
        "fed with 160x160 pixels, 0.95 of the shorter side, bicubic",
        "weights/resnet18-resnet18.a3_in1k",
    ]
    assert lenext("weights", "get", "resnet18", "--tag", "resnet18.a3_in1k").code == 2  # it exists


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_get_stays_offline_where_the_environment_says_so(
    lenext: Lenext, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    answer = lenext("weights", "get", "resnet18")
    assert answer.code == 6
    assert "stay offline" in answer.err


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (("import", "none.pth", "--model", "resnet18", "--out", "net"), 4, "No such file"),
        (("import", "none.pth", "--model", "resnet81", "--out", "net"), 2, "resnet18"),
        (("import", "none.pth", "--model", "resnet18"), 2, "--out"),
        (("import", "none.pth", "--model", "resnet18", "--out", "net", "--from", "keras"), 2, "torchvision"),
        (("get", "lenet5"), 2, "neither torchvision nor timm"),
        (("get", "resnet18", "--tag", "IMAGENET1K_V9"), 2, "IMAGENET1K_V1"),
        (("nothing*",), 2, "lenext weights"),
    ],
)
def test_errors_say_what_to_type(lenext: Lenext, words: tuple[str, ...], code: int, hint: str) -> None:
    answer = lenext("weights", *words)
    assert answer.code == code, answer
    assert hint in answer.err
    assert not Path("net").exists()


def test_import_that_is_stopped_leaves_nothing_behind(file: str, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    words = ("weights", "import", file, "--model", "resnet18", "--out", "net")
    command = [sys.executable, "-m", "lenext", *words]
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(scratch)}, stderr=subprocess.DEVNULL) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while process.poll() is None and not (any(scratch.iterdir()) and children.read_text()):
            pass  # until another process reads the file
        process.terminate()
        assert process.wait(60) == 143
    assert list(scratch.iterdir()) == [] and not Path("net").exists()
