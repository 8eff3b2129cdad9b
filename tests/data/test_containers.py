"""Folders, zips and tars: the same names and bytes, and what each refuses."""

import io
import os
import shutil
import stat
import subprocess
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lenext.data.containers import Container, open_container, shown
from lenext.errors import DataError

from .image_folders import WRITERS, write_folder, write_tar, write_zip

ODD = {
    "a/plain.txt": b"1",
    "a/line\nbreak.txt": b"2",
    "a/\"quoted\" 'twice'.txt": b"3",
    "a/<b>&amp;.txt": b"4",
    "ä/é.txt": b"5",
    "\uff41/z.txt": b"6",
    "\U0001f436/dog.txt": b"7",
    "empty.txt": b"",
}


def refusal(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        open_container(path)
    return caught.value


def unread(container: Container, name: str) -> str:
    with pytest.raises(DataError) as caught:
        container.read(name)
    assert name in caught.value.what
    return caught.value.why


@pytest.mark.parametrize("kind", WRITERS)
def test_names_and_bytes_come_back_in_the_order_of_the_bytes_of_the_names(tmp_path: Path, kind: str) -> None:
    container = open_container(WRITERS[kind](tmp_path / "set", ODD))
    assert container.names() == [name.decode() for name in sorted(name.encode() for name in ODD)]
    assert {name: container.read(name) for name in container.names()} == ODD
    assert [container.size(name) for name in ODD] == [len(content) for content in ODD.values()]
    assert container.folders() == ["a", "ä", "\uff41", "\U0001f436"]


@pytest.mark.parametrize("kind", WRITERS)
def test_only_the_first_bytes_are_read_where_a_limit_is_given(tmp_path: Path, kind: str) -> None:
    container = open_container(WRITERS[kind](tmp_path / "set", {"a": bytes(range(200))}))
    assert container.read("a", 3) == bytes(range(3))
    assert container.read("a", 500) == bytes(range(200))


@pytest.mark.parametrize("kind", WRITERS)
def test_folders_without_files_are_known(tmp_path: Path, kind: str) -> None:
    container = open_container(WRITERS[kind](tmp_path / "set", {"a/b/c.txt": b"", "a/empty/": b"", "d/e/": b""}))
    assert container.names() == ["a/b/c.txt"]
    assert set(container.folders()) >= {"a", "a/b", "a/empty", "d/e"}


@pytest.mark.parametrize("kind", WRITERS)
def test_many_threads_read_at_once(tmp_path: Path, kind: str) -> None:
    generator = np.random.default_rng(1)
    files = {f"{i}.bin": generator.bytes(20_000 + i) for i in range(60)}
    container = open_container(WRITERS[kind](tmp_path / "set", files))
    order = generator.integers(0, 60, 600).tolist()
    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(lambda i: container.read(f"{i}.bin"), order))
    assert contents == [files[f"{i}.bin"] for i in order]


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_names_that_are_no_utf_8_survive_and_are_shown_with_escapes(tmp_path: Path, kind: str) -> None:
    name = os.fsdecode(b"caf\xe9/\xff.txt")
    container = open_container(WRITERS[kind](tmp_path / "set", {name: b"x"}))
    assert container.names() == [name]
    assert container.read(name) == b"x"
    assert shown(name) == r"caf\xe9/\xff.txt"


@pytest.mark.parametrize(
    ("system", "raw", "name"),
    [(3, b"caf\xe9_", os.fsdecode(b"caf\xe9_")), (0, b"caf\x82_", "café_"), (3, "café".encode(), "café")],
)
def test_zip_names_without_the_utf_8_mark_are_those_that_unpacking_gives(
    tmp_path: Path, system: int, raw: bytes, name: str
) -> None:
    """Raw bytes where Unix wrote them, code page 437 where MS-DOS did, UTF-8 where it is UTF-8."""
    info = zipfile.ZipInfo("caf__"[: len(raw)])
    info.create_system = system
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, b"x")
    path.write_bytes(path.read_bytes().replace(b"caf__"[: len(raw)], raw))
    container = open_container(path)
    assert container.names() == [name]
    assert container.read(name) == b"x"


def test_shown_leaves_good_names_alone() -> None:
    assert [shown(name) for name in ODD] == list(ODD)


def test_links_in_a_folder_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", {"a/1.txt": b"1"})
    write_folder(tmp_path / "elsewhere", {"2.txt": b"2"})
    (folder / "a" / "file").symlink_to("1.txt")
    (folder / "a" / "up").symlink_to("..")
    (folder / "b").symlink_to(tmp_path / "elsewhere")
    container = open_container(folder)
    assert container.names() == ["a/1.txt", "a/file", "b/2.txt"]
    assert container.read("a/file") == b"1"
    assert container.read("b/2.txt") == b"2"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", {"a/1.txt": b"1", "gone.txt": b""})
    (folder / "dangling.txt").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.txt")
    container = open_container(folder)
    (folder / "gone.txt").unlink()
    assert unread(container, "dangling.txt") == "No such file or directory"
    assert unread(container, "gone.txt") == "No such file or directory"
    assert unread(container, "pipe.txt") == "it is no regular file"


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("name", ["/etc/passwd", "../up.txt", "a/../../up.txt"])
def test_a_member_that_points_out_of_the_archive_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    assert f"{name} in it points out of the archive" in refusal(WRITERS[kind](tmp_path / "set", {name: b"x"})).why


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {"a/secret.png": b"x"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x03\x04") + 6] |= 1  # the flag of encryption, in both headers
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert "a/secret.png in it is encrypted" in refusal(path).why


@pytest.mark.parametrize("kind", ["w:gz", "w:bz2", "w:xz"])
def test_a_compressed_tar_is_refused_with_the_command_that_unpacks_it(tmp_path: Path, kind: str) -> None:
    path = write_tar(tmp_path / "my photos.tar.x", {"cat/1.txt": b"1"}, kind)
    refused = refusal(path)
    assert "single images cannot be reached" in refused.why
    command = refused.advice.removeprefix("unpack it: ")
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert (tmp_path / "my photos" / "cat" / "1.txt").read_bytes() == b"1"


def test_a_missing_path_gets_the_nearest_name(tmp_path: Path) -> None:
    write_folder(tmp_path, {"photos/1.txt": b""})
    refused = refusal(tmp_path / "fotos")
    assert refused.exit_code == 3
    assert refused.why == "there is no such file or folder"
    assert refused.advice == "did you mean 'photos'?"
    assert "no folder" in refusal(tmp_path / "x" / "y").advice


@pytest.mark.parametrize("content", [b"", b"hello", bytes(range(256)) * 8])
def test_what_is_neither_folder_nor_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert "neither a folder nor a whole .zip or .tar" in refusal(tmp_path / "file").why


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe").why == "it is neither a folder nor a file"


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path / "set", {f"{i}.bin": np.random.default_rng(i).bytes(600) for i in range(3)})
    whole = path.read_bytes()
    used = len(whole.rstrip(b"\0")) if kind == "tar" else len(whole)
    for length in {*range(4, used, 97), 512, 1536, used - 1}:
        path.write_bytes(whole[:length])
        assert "cut off" in refusal(path).why or "whole" in refusal(path).why, length


def test_a_damaged_header_in_the_middle_of_a_tar_does_not_hide_what_follows(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "set.tar", {f"{i}.bin": b"x" for i in range(3)})
    data = bytearray(path.read_bytes())
    data[1024] ^= 1  # the header of the second member
    path.write_bytes(data)
    assert refusal(path).why == "it is damaged or cut off at byte 1,024"


METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.parametrize("method", METHODS)
def test_a_damaged_member_of_a_zip_is_named(tmp_path: Path, method: int) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("good.bin", b"x" * 99)
        archive.writestr("bad.bin", np.random.default_rng(0).bytes(999))
    data = bytearray(path.read_bytes())
    at = data.index(b"bad.bin") + 50
    data[at : at + 40] = bytes(40)
    path.write_bytes(data)
    container = open_container(path)
    assert container.read("good.bin") == b"x" * 99
    assert "damaged" in unread(container, "bad.bin")


def test_a_member_of_a_zip_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {"bomb.png": bytes(5000)})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02") + 24  # its size, uncompressed, in the central directory
    data[at : at + 4] = (3 << 30).to_bytes(4, "little")
    path.write_bytes(data)
    assert unread(open_container(path), "bomb.png") == "it would have 3,221,225,472 bytes"


def test_a_tar_of_the_systems_own_program_reads_the_same(tmp_path: Path) -> None:
    """Leading "./", a hard link, a link to a file, and a name longer than the header's 100 bytes."""
    assert shutil.which("tar")
    long = "n" * 90 + "/" + "m" * 120 + ".txt"
    folder = write_folder(tmp_path / "set", {"a/1.txt": b"one", long: b"long"})
    (folder / "a" / "hard.txt").hardlink_to(folder / "a" / "1.txt")
    (folder / "soft.txt").symlink_to("a/1.txt")
    (folder / "chain.txt").symlink_to("soft.txt")
    subprocess.run(["tar", "-cf", tmp_path / "set.tar", "-C", folder, "."], check=True)
    in_tar, in_folder = open_container(tmp_path / "set.tar"), open_container(folder)
    assert in_tar.names() == in_folder.names()
    assert [in_tar.read(name) for name in in_tar.names()] == [in_folder.read(name) for name in in_tar.names()]


def links(path: Path, targets: dict[str, str], kind: str) -> Container:
    """An archive of a/1.txt and of symbolic links."""
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as zipped:
            zipped.writestr("a/1.txt", b"one")
            for name, target in targets.items():
                link = zipfile.ZipInfo(name)
                link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
                zipped.writestr(link, target)
    else:
        with tarfile.open(path, "w") as tarred:
            member = tarfile.TarInfo("a/1.txt")
            member.size = 3
            tarred.addfile(member, io.BytesIO(b"one"))
            for name, target in targets.items():
                info = tarfile.TarInfo(name)
                info.type, info.linkname = tarfile.SYMTYPE, target
                tarred.addfile(info)
    return open_container(path)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_links_in_an_archive_are_resolved_inside_it_or_refused_when_read(tmp_path: Path, kind: str) -> None:
    targets = {"b/in.txt": "../a/1.txt", "out.txt": "../../etc/passwd", "root.txt": "/etc/passwd", "a/dir": "../a"}
    container = links(tmp_path / "set", {**targets, "x.txt": "y.txt", "y.txt": "x.txt"}, kind)
    assert container.names() == sorted([*targets, "a/1.txt", "x.txt", "y.txt"])
    assert container.read("b/in.txt") == b"one"
    assert container.size("b/in.txt") == 3
    for name in ("out.txt", "root.txt", "a/dir", "x.txt"):
        assert "which is no file of the archive" in unread(container, name)


def test_a_later_member_of_a_tar_replaces_an_earlier_one_as_in_unpacking(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "set.tar", {"a.txt": b"old", "./a.txt": b"new"})
    container = open_container(path)
    assert container.names() == ["a.txt"]
    assert container.read("a.txt") == b"new"


def test_a_device_in_a_tar_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        info = tarfile.TarInfo("dev/null")
        info.type = tarfile.CHRTYPE
        archive.addfile(info)
    assert "dev/null in it is no regular file" in refusal(tmp_path / "set.tar").why
