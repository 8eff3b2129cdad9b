"""Getting published weights. Oracle: a server on this machine that answers as the publishers do."""

import contextlib
import hashlib
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lenext.downloads import _NoDowngrade
from lenext.errors import DataError, MachineError
from lenext.weights.hub import Addresses, get_weights
from lenext.weights.published import Published

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TORCHVISION = Published(source="torchvision", tag="V1", file=f"net-{SHA256[:8]}.pth", size=224)
TIMM = Published(source="timm", tag="net.a1_in1k", size=224)
LISTING = "/api/models/timm/net.a1_in1k/tree/main"
FILE = "/timm/net.a1_in1k/resolve/main/model.safetensors"


class Publisher:
    """Answers by path; what was asked for stays in `asked`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = {
            f"/{TORCHVISION.file}": CONTENT,
            LISTING: listing({"model.safetensors": SHA256, "pytorch_model.bin": "0" * 64}),
            FILE: CONTENT,
        }


def listing(digests: dict[str, str]) -> bytes:
    size = len(CONTENT)
    entries = [{"type": "file", "path": name, "lfs": {"oid": oid, "size": size}} for name, oid in digests.items()]
    others = [{"type": "file", "path": "README.md", "oid": "abc"}, {"type": "directory", "path": "x", "lfs": None}]
    return json.dumps([*others, *entries]).encode()


@pytest.fixture
def publisher() -> Iterator[tuple[Publisher, Addresses]]:
    publisher = Publisher()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            publisher.asked.append(self.path)
            content = publisher.answers.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # who has read enough goes
                self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    yield publisher, Addresses(torchvision=address, hub=address)
    server.shutdown()
    server.server_close()


Served = tuple[Publisher, Addresses]


@pytest.mark.parametrize("one", [TORCHVISION, TIMM], ids=["torchvision", "timm"])
def test_a_file_is_got_once(publisher: Served, tmp_path: Path, one: Published) -> None:
    server, addresses = publisher
    file = get_weights(one, tmp_path, addresses)
    assert file.read_bytes() == CONTENT
    asked = list(server.asked)
    assert get_weights(one, tmp_path, addresses, offline=True) == file
    assert server.asked == asked


@pytest.mark.parametrize("one", [TORCHVISION, TIMM], ids=["torchvision", "timm"])
def test_other_content_is_refused_and_not_kept(publisher: Served, tmp_path: Path, one: Published) -> None:
    server, addresses = publisher
    server.answers |= {FILE: b"other", f"/{TORCHVISION.file}": b"other"}
    with pytest.raises(DataError, match="SHA-256"):
        get_weights(one, tmp_path, addresses)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("one", [TORCHVISION, TIMM], ids=["torchvision", "timm"])
def test_a_kept_file_that_was_changed_is_got_again(publisher: Served, tmp_path: Path, one: Published) -> None:
    file = get_weights(one, tmp_path, publisher[1])
    file.write_bytes(b"changed")
    assert get_weights(one, tmp_path, publisher[1]).read_bytes() == CONTENT


@pytest.mark.parametrize("one", [TORCHVISION, TIMM], ids=["torchvision", "timm"])
def test_offline_asks_nobody(publisher: Served, tmp_path: Path, one: Published) -> None:
    with pytest.raises(MachineError, match="stay offline"):
        get_weights(one, tmp_path, publisher[1], offline=True)
    assert publisher[0].asked == []


def test_the_older_file_is_taken_where_there_is_no_other(publisher: Served, tmp_path: Path) -> None:
    server, addresses = publisher
    server.answers |= {LISTING: listing({"pytorch_model.bin": SHA256})}
    server.answers |= {FILE.replace("model.safetensors", "pytorch_model.bin"): CONTENT}
    assert get_weights(TIMM, tmp_path, addresses).suffix == ".bin"


@pytest.mark.parametrize(
    "content",
    [b"<html>", b"{}", b"[" * 500_000, b'["a"]', listing({}), listing({"model.safetensors": "abc"}), b" " * (1 << 21)],
    ids=["a page", "no list", "nested", "words", "nothing", "no digest", "without end"],
)
def test_a_listing_without_a_digest_is_refused(publisher: Served, tmp_path: Path, content: bytes) -> None:
    server, addresses = publisher
    server.answers[LISTING] = content
    with pytest.raises(DataError, match="cannot get"):
        get_weights(TIMM, tmp_path, addresses)
    assert FILE not in server.asked


def test_a_name_without_a_digest_and_an_authors_release_are_refused(publisher: Served, tmp_path: Path) -> None:
    for one in (
        Published(source="torchvision", tag="V1", file="net.pth", size=224),
        Published(source="original", tag="x", size=224),
    ):
        with pytest.raises(DataError, match="digest"):
            get_weights(one, tmp_path, publisher[1])


def test_more_than_the_listing_says_is_not_taken(publisher: Served, tmp_path: Path) -> None:
    server, addresses = publisher
    server.answers[FILE] = CONTENT * 1000
    with pytest.raises(DataError, match=f"more than the published {len(CONTENT)} bytes"):
        get_weights(TIMM, tmp_path, addresses)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_encrypted_connection_is_not_left_for_another() -> None:
    handler, asked = _NoDowngrade(), urllib.request.Request("https://hub.example/a")
    for address, ends in (("http://hub.example/a", True), ("https://other.example/a", False)):
        if ends:
            with pytest.raises(urllib.error.URLError, match="not encrypted"):
                handler.redirect_request(asked, None, 302, "", {}, address)
        else:
            assert handler.redirect_request(asked, None, 302, "", {}, address).full_url == address


def test_an_address_that_is_none_is_an_error_of_the_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown url type"):
        get_weights(TIMM, tmp_path, Addresses(hub=""))
