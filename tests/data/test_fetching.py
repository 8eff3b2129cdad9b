"""Getting data sets, from a server of our own on this machine and from a stand-in for apt-get."""

import dataclasses
import gzip
import hashlib
import http.server
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lenext.data.cifar import CIFAR_SETS
from lenext.data.fetching import PUBLISHERS, Publisher, download, fetch, install_package, verify
from lenext.data.published import IDX_SETS, FileKey, locate
from lenext.errors import DataError, MachineError

from .idx_files import small_set, write_set

FILES = {f"{name}.gz": gzip.compress(content) for name, content in small_set().items()}
FIRST, SECOND, *_ = FILES


class Server(http.server.ThreadingHTTPServer):
    """Answers with what `files` holds now, and remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(FILES)
        self.asked: list[str] = []
        self.cut = 0
        self.chunked = False

    @property
    def publisher(self) -> Publisher:
        md5 = {name: hashlib.md5(content).hexdigest() for name, content in FILES.items()}
        return Publisher(f"http://127.0.0.1:{self.server_address[1]}/", md5)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path[1:]
        self.server.asked.append(name)
        if name not in self.server.files:
            self.send_error(404)
            return
        body = self.server.files[name]
        self.send_response(200)
        if self.server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            body = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) - self.server.cut])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def refused(publisher: Publisher, folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        download(publisher, folder, lambda line: None)
    assert "get the file yourself" in caught.value.advice
    return caught.value.why


def test_missing_set_comes_from_its_publisher_and_can_be_opened(server: Server, tmp_path: Path) -> None:
    said: list[str] = []
    info = fetch("mnist", tmp_path, said.append, server.publisher)
    assert (*info.counts.values(), info.found) == (30, 20, str(tmp_path / "mnist"))
    assert names(tmp_path / "mnist") == set(FILES)
    assert all((tmp_path / "mnist" / name).read_bytes() == content for name, content in FILES.items())
    assert f"getting {server.publisher.address}{FIRST}" in said


def test_set_that_is_there_is_left_as_it_is(server: Server, tmp_path: Path) -> None:
    write_set(tmp_path / "fashion_mnist")
    info = fetch("fashion_mnist", tmp_path, pytest.fail, server.publisher)
    assert info.found == str(tmp_path / "fashion_mnist")
    assert server.asked == []


def test_digits_need_no_getting(tmp_path: Path) -> None:
    assert fetch("digits", tmp_path, pytest.fail).counts["train"] == 1437


def test_files_that_arrived_are_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / FIRST).write_bytes(FILES[FIRST])
    (tmp_path / SECOND).write_bytes(b"damaged")
    download(server.publisher, tmp_path, lambda line: None)
    assert server.asked == list(FILES)[1:]
    assert (tmp_path / SECOND).read_bytes() == FILES[SECOND]


def test_file_of_another_digest_is_refused_and_nothing_is_left(server: Server, tmp_path: Path) -> None:
    server.files[FIRST] = FILES[SECOND]
    found, published = (server.publisher.md5[name] for name in (SECOND, FIRST))
    assert refused(server.publisher, tmp_path) == f"its MD5 is {found}, published is {published}"
    assert names(tmp_path) == set()


def test_whole_files_are_kept_when_a_later_one_fails(server: Server, tmp_path: Path) -> None:
    del server.files[SECOND]
    assert refused(server.publisher, tmp_path) == "the server says 404 Not Found"
    assert names(tmp_path) == {FIRST}


def test_truncated_answer_names_what_arrived(server: Server, tmp_path: Path) -> None:
    server.cut = 10
    whole = len(FILES[FIRST])
    assert refused(server.publisher, tmp_path) == f"the connection ended after {whole - 10} of {whole} bytes"
    assert names(tmp_path) == set()


def test_answer_of_unannounced_length_is_read_to_its_end(server: Server, tmp_path: Path) -> None:
    server.chunked = True
    download(server.publisher, tmp_path, lambda line: None)
    assert names(tmp_path) == set(FILES)


def test_answer_torn_within_a_chunk_is_refused(server: Server, tmp_path: Path) -> None:
    server.chunked, server.cut = True, 20
    assert refused(server.publisher, tmp_path).startswith("the connection broke after ")
    assert names(tmp_path) == set()


def test_refused_connection_is_told(server: Server, tmp_path: Path) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        publisher = Publisher(f"http://127.0.0.1:{deaf.getsockname()[1]}/", server.publisher.md5)
        assert refused(publisher, tmp_path).endswith("Connection refused")
    assert names(tmp_path) == set()


def test_silent_server_is_left_after_the_time_limit(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lenext.downloads.TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        publisher = Publisher(f"http://127.0.0.1:{silent.getsockname()[1]}/", server.publisher.md5)
        assert "timed out" in refused(publisher, tmp_path)


def test_answer_that_is_no_http_is_refused(server: Server, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as odd:

        def answer() -> None:
            connection, _ = odd.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"220 mail ready\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        publisher = Publisher(f"http://127.0.0.1:{odd.getsockname()[1]}/", server.publisher.md5)
        assert "220 mail ready" in refused(publisher, tmp_path)
        thread.join()


def test_folder_that_cannot_be_made_is_the_machines_fault(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="cannot write"):
        fetch("mnist", tmp_path / "file", lambda line: None, server.publisher)


def test_file_that_cannot_be_put_in_place_is_the_machines_fault(server: Server, tmp_path: Path) -> None:
    (tmp_path / FIRST).mkdir()
    with pytest.raises(MachineError, match=FIRST):
        download(server.publisher, tmp_path, lambda line: None)
    assert names(tmp_path) == {FIRST}


def test_content_is_verified_whether_gzipped_anew_or_not(tmp_path: Path) -> None:
    contents = small_set()
    files = locate("mnist", str(write_set(tmp_path, zipped=True)))
    digests: dict[FileKey, str] = {
        key: hashlib.sha256(contents[path.name.removesuffix(".gz")]).hexdigest() for key, path in files.items()
    }
    verify(files, digests)
    files["test", "labels"].write_bytes(gzip.compress(b"something else"))
    with pytest.raises(DataError, match="t10k-labels"):
        verify(files, digests)


def test_publishers_offer_the_files_of_each_set() -> None:
    assert set(PUBLISHERS) == {*IDX_SETS, *CIFAR_SETS}
    for name, publisher in PUBLISHERS.items():
        assert set(publisher.md5) == ({CIFAR_SETS[name].binary.archive} if name in CIFAR_SETS else set(FILES))
        assert all(len(digest) == 32 for digest in publisher.md5.values())
        assert publisher.address.endswith("/")


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called apt-get that notes its arguments, fails as long as a file says so, and installs `package`."""
    programs = tmp_path / "programs"
    programs.mkdir()
    script = programs / "apt-get"
    script.write_text(
        f"""#!/bin/sh
echo "$DEBIAN_FRONTEND: $*" >> {programs}/asked
if [ "$1" = update ] && [ -e {programs}/stale ]; then : > {programs}/fresh; exit 0; fi
if [ -e {programs}/package ]; then exec /bin/mv {programs}/package {programs}/system; fi
if [ -e {programs}/fresh ] || [ ! -e {programs}/fails ]; then exit 0; fi
echo "E: Unable to locate package" >&2
exit 100
"""
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return programs


INSTALL = "noninteractive: install -y --no-install-recommends dataset-fashion-mnist"


def asked(apt: Path) -> list[str]:
    return (apt / "asked").read_text().splitlines() if (apt / "asked").exists() else []


def test_package_is_installed_by_root(apt: Path) -> None:
    said: list[str] = []
    assert install_package("dataset-fashion-mnist", said.append)
    assert asked(apt) == [INSTALL]
    assert said == ["running apt-get install -y --no-install-recommends dataset-fashion-mnist"]


def test_lists_are_updated_when_the_package_is_not_found(apt: Path) -> None:
    (apt / "fails").touch()
    (apt / "stale").touch()
    assert install_package("dataset-fashion-mnist", lambda line: None)
    assert asked(apt) == [INSTALL, "noninteractive: update", INSTALL]


def test_failure_of_the_package_is_told_and_not_raised(apt: Path) -> None:
    (apt / "fails").touch()
    said: list[str] = []
    assert not install_package("dataset-fashion-mnist", said.append)
    assert asked(apt) == [INSTALL, "noninteractive: update"]
    assert said[1] == "apt-get failed: E: Unable to locate package"


def test_program_that_cannot_run_is_told_and_not_raised(apt: Path) -> None:
    (apt / "apt-get").write_text("#!/no/such/interpreter\n")
    said: list[str] = []
    assert not install_package("dataset-fashion-mnist", said.append)
    assert said[1].startswith("apt-get failed: ")


def test_nothing_is_installed_by_anyone_else_or_without_apt(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as other:
        other.setattr(os, "geteuid", lambda: 1000)
        assert not install_package("dataset-fashion-mnist", pytest.fail)
    assert asked(apt) == []
    (apt / "apt-get").unlink()
    assert not install_package("dataset-fashion-mnist", pytest.fail)


def test_set_that_a_root_has_installs_nothing(apt: Path, tmp_path: Path) -> None:
    write_set(tmp_path / "fashion_mnist")
    fetch("fashion_mnist", tmp_path, pytest.fail)
    assert asked(apt) == []


@pytest.fixture
def packaged(apt: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small set as the package that apt-get will install into a folder of the test's own."""
    write_set(apt / "package", zipped=True)
    contents = small_set()
    sha256: dict[FileKey, str] = {
        key: hashlib.sha256(contents[path.name.removesuffix(".gz")]).hexdigest()
        for key, path in locate("mnist", str(apt / "package")).items()
    }
    facts = dataclasses.replace(IDX_SETS["fashion_mnist"], system=str(apt / "system"), sha256=sha256)
    monkeypatch.setitem(IDX_SETS, "fashion_mnist", facts)
    return apt / "package"


def test_installed_set_is_verified_and_used(apt: Path, packaged: Path, tmp_path: Path) -> None:
    assert fetch("fashion_mnist", tmp_path, lambda line: None).found == str(apt / "system")
    assert not (tmp_path / "fashion_mnist").exists()


def test_installed_set_that_is_not_the_published_one_leads_to_the_publisher(
    server: Server, packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (packaged / FIRST).write_bytes(gzip.compress(b"something else"))
    monkeypatch.setitem(PUBLISHERS, "fashion_mnist", server.publisher)
    said: list[str] = []
    assert fetch("fashion_mnist", tmp_path, said.append).found == str(tmp_path / "fashion_mnist")
    assert any("its uncompressed SHA-256 is" in line for line in said)


def test_package_that_cannot_be_installed_leads_to_the_publisher(
    apt: Path, server: Server, packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged.rename(apt / "away")
    (apt / "fails").touch()
    monkeypatch.setitem(PUBLISHERS, "fashion_mnist", server.publisher)
    assert fetch("fashion_mnist", tmp_path, lambda line: None).found == str(tmp_path / "fashion_mnist")
