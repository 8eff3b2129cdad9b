"""One file from one address, whole and with the right digest, or none. Nothing here decides to connect by itself."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from lenext.errors import DataError, MachineError

TIMEOUT = 10.0  # seconds for the connection, and for each piece of the answer
_PIECE = 1 << 16


def download_file(url: str, target: Path, algorithm: str, digest: str, size: int | None = None) -> None:
    """Get a file whose digest by `algorithm` ("md5", "sha256") begins with `digest`; size: its bytes, where known.

    It is written beside, checked and renamed: at no time is there a file of that name which is not the published one.
    A failure is a DataError, or a MachineError where the folder cannot be written.
    """
    beside = target.with_name(f".{target.name}.part-{os.getpid()}")
    with writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _answer(url) as answer, writing(target), beside.open("wb") as file:
            _copy(answer, file, url, size)
            file.flush()
            os.fsync(file.fileno())
        if not has_digest(beside, algorithm, digest):
            found = file_digest(beside, algorithm)
            raise _failed(url, f"its {_spelt(algorithm)} is {found}, published is {digest}")
        with writing(target):
            beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def read_answer(url: str, limit: int = 1 << 20) -> bytes:
    """The answer of an address, of `limit` bytes at most."""
    with _answer(url) as answer:
        try:
            content = answer.read(limit + 1)
        except (OSError, http.client.HTTPException) as error:
            raise _failed(url, f"the connection broke: {error}") from error
    if len(content) > limit:
        raise _failed(url, f"the answer is longer than {limit} bytes")
    return content


def has_digest(path: Path, algorithm: str, digest: str) -> bool:
    """Whether the file is there and its digest begins with `digest`, in hexadecimal."""
    return path.is_file() and bool(digest) and file_digest(path, algorithm).startswith(digest)


def file_digest(path: Path, algorithm: str) -> str:
    """The file's digest in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full disk or a missing permission into a MachineError."""
    try:
        yield
    except OSError as error:
        raise MachineError(
            f"cannot write {path}", why=error.strerror or str(error), advice="make room, or choose another folder"
        ) from error


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from an encrypted connection to one that is not."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise urllib.error.URLError(f"it redirects to an address that is not encrypted: {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def _answer(url: str) -> Iterator[http.client.HTTPResponse]:
    try:
        answer = urllib.request.build_opener(_NoDowngrade).open(url, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        raise _failed(url, f"the server says {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _failed(url, str(error.reason)) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _failed(url, str(error) or type(error).__name__) from error
    with answer:
        yield answer


def _copy(answer: http.client.HTTPResponse, file: BinaryIO, url: str, size: int | None) -> None:
    announced = answer.length
    arrived = 0
    while True:
        try:
            piece = answer.read(_PIECE)
        except (OSError, http.client.HTTPException) as error:
            raise _failed(url, f"the connection broke after {arrived} bytes: {error}") from error
        if not piece:
            break
        file.write(piece)
        arrived += len(piece)
        if size is not None and arrived > size:
            raise _failed(url, f"more than the published {size} bytes came")
    if announced is not None and arrived != int(announced):
        raise _failed(url, f"the connection ended after {arrived} of {announced} bytes")


def _spelt(algorithm: str) -> str:
    return {"md5": "MD5", "sha256": "SHA-256"}.get(algorithm, algorithm)


def _failed(url: str, why: str) -> DataError:
    advice = "try again later, or get the file yourself"
    return DataError(f"cannot get {url}", why=why, kept="whole files that had arrived, nothing else", advice=advice)
