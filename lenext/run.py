"""The run folder: names, creation by rename, lock, metrics, the index of files with their digests."""

import contextlib
import fcntl
import glob
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from lenext.errors import ConflictError, DataError, LockedError, MachineError

FORMAT = 1
RUN_JSON = "run.json"
LOCK = ".lock"
CONFIG_TOML = "config.toml"
METRICS_JSONL = "metrics.jsonl"
SPLIT_CSV = "split.csv"
ENVIRONMENT_JSON = "environment.json"
BEST = "best"
LAST = "last"
GALLERY_NPZ = "gallery.npz"
DATA_JSON = "data.json"
REPORT_HTML = "report.html"
SWEEP_JSON = "sweep.json"
WRITTEN_ONCE = (CONFIG_TOML, SPLIT_CSV, ENVIRONMENT_JSON)


def predictions_name(split: str) -> str:
    """File name of the predictions on a split."""
    return f"predictions-{split}.npz"


def metrics_name(split: str) -> str:
    """File name of the metrics measured on a split."""
    return f"metrics-{split}.json"


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_durably(path: Path, content: bytes) -> None:
    """Replace `path` whole: written beside, synced, renamed, folder synced. A crash leaves the old or the new file."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise MachineError(
            f"cannot write {path}", why=str(error), kept="the previous file, if there was one", advice="free some space"
        ) from error
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object durably, indented for people."""
    write_durably(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; a missing or damaged file is a DataError that names it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"cannot read {path}", why="there is no such file", advice="check that this is a run folder"
        ) from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(
            f"cannot read {path}", why=f"it is damaged: {error}", advice="restore it from a copy"
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"cannot read {path}", why="it holds no JSON object", advice="restore it from a copy")
    return content


def free_name(parent: Path, stem: str) -> Path:
    """Return the first of `stem`, `stem-2`, `stem-3` ... that does not exist in `parent`."""
    path, number = parent / stem, 2
    while path.exists():
        path, number = parent / f"{stem}-{number}", number + 1
    return path


def refuse_existing(run: Path) -> None:
    """Raise a DataError if there is something at `run` already: before data is loaded for a run that cannot be made."""
    if run.exists():
        raise DataError(
            f"cannot create {run}", why="it exists already", advice=f"choose another --run, or --resume {run}",
            kept="the existing folder, untouched",
        )  # fmt: skip


@contextlib.contextmanager
def staged(run: Path, option: str = "--run") -> Iterator[Path]:
    """Yield a folder beside `run` that becomes `run` by one rename, or vanishes if the block fails.

    option: of the command line, by which another place is chosen.

    It is locked meanwhile: one that nobody holds was left by a killed process, and goes the next time.
    """
    refuse_existing(run)
    for left in run.parent.glob(f".{glob.escape(run.name)}.*.new"):
        _remove_unheld(left)
    staging = run.with_name(f".{run.name}.{os.getpid()}.new")
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise MachineError(
            f"cannot create {run}",
            why=error.strerror or str(error),
            advice=f"choose a writable place with {option} DIR",
        ) from error
    try:
        with locked(staging):
            yield staging
            staging.rename(run)
            sync_folder(run.parent)
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, OSError):
            why, advice = error.strerror or str(error), f"free some space, or choose another place with {option} DIR"
            raise MachineError(f"cannot create {run}", why=why, advice=advice) from error
        raise


def _remove_unheld(folder: Path) -> None:
    """Remove a folder whose lock nobody holds; one without a lock is only just being made."""
    if (folder / LOCK).is_file():
        with contextlib.suppress(LockedError, OSError), locked(folder):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run for this process; a second one gets a LockedError (exit 8). A killed process leaves no lock."""
    handle = os.open(run / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(handle, 200, 0).decode(errors="replace").strip()
            raise LockedError(
                f"cannot use {run}", why=f"another process holds it ({owner})", advice="wait for it, or stop it",
                kept="the run, untouched",
            ) from error  # fmt: skip
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"pid {os.getpid()} on {platform.node()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def series_of(folder: Path) -> list[Path]:
    """The runs of several seeds in a folder that `--seeds` made, in the order of their seeds; none elsewhere."""
    if (folder / RUN_JSON).exists():
        return []
    found = [path.parent for path in folder.glob(f"seed-*/{RUN_JSON}")]
    return sorted(found, key=lambda path: (len(path.name), path.name))


def load_run(run: Path) -> dict[str, Any]:
    """Read `run.json`; a folder that is none, or of a newer format, is a DataError."""
    if not (run / RUN_JSON).is_file():
        why, advice = f"it has no {RUN_JSON}", "name a folder that lenext train made"
        if seeds := series_of(run):
            why, advice = f"it holds the runs of {len(seeds)} seeds", f"name one of them, as {seeds[0]}"
        raise DataError(f"cannot use {run} as a run", why=why, advice=advice)
    index = read_json(run / RUN_JSON)
    if index.get("format") != FORMAT:
        raise DataError(
            f"cannot read {run}", why=f"its format is {index.get('format')!r}, this lenext reads {FORMAT}",
            advice="use the lenext that wrote it",
        )  # fmt: skip
    return index


def update_run(run: Path, **changes: Any) -> dict[str, Any]:
    """Write `run.json` anew with `changes`, and with size and digest of the run's other files but the report.

    What is written once, when the run is made, keeps its first digest: `verify` tells whether somebody edited it.
    """
    index = {**(read_json(run / RUN_JSON) if (run / RUN_JSON).exists() else {"format": FORMAT}), **changes}
    first = {name: entry for name, entry in index.get("files", {}).items() if name in WRITTEN_ONCE}
    index["files"] = {
        path.name: {"sha256": sha256_file(path), "bytes": path.stat().st_size}
        for path in sorted(run.iterdir())
        if path.is_file() and path.name not in (RUN_JSON, REPORT_HTML) and not path.name.startswith(".")
    } | first
    for part in (BEST, LAST):
        manifest = run / part / "manifest.json"
        if manifest.is_file():
            index["files"][f"{part}/manifest.json"] = {
                "sha256": sha256_file(manifest),
                "bytes": manifest.stat().st_size,
            }
    write_json(run / RUN_JSON, index)
    return index


def verify(run: Path, name: str) -> None:
    """Compare a file of the run with the digest that `run.json` has of it; another one is a ConflictError (5)."""
    stated = load_run(run)["files"].get(name, {}).get("sha256")
    if not (run / name).is_file() or sha256_file(run / name) != stated:
        raise ConflictError(
            f"cannot use {run}",
            why=f"{name} is not what the run was made with: it was edited, damaged or removed",
            kept="the run, untouched",
            advice=f"put {name} back as it was, or train a new run",
        )


def forget_answers(run: Path) -> None:
    """Remove what evaluation wrote: training goes on, and it would speak of another network. `eval` makes it again."""
    for pattern in ("predictions-*.npz", "metrics-*.json", GALLERY_NPZ, REPORT_HTML):
        for path in run.glob(pattern):
            path.unlink()


def append_metrics(run: Path, record: Mapping[str, Any]) -> int:
    """Append one JSON line to `metrics.jsonl`, synced; return the file's length in bytes."""
    try:
        with (run / METRICS_JSONL).open("ab") as file:
            file.write((json.dumps(record) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
            return file.tell()
    except OSError as error:
        raise MachineError(
            f"cannot write {run / METRICS_JSONL}", why=error.strerror or str(error), kept="the newest checkpoint",
            advice=f"free some space, then: lenext train --resume {run}",
        ) from error  # fmt: skip


def cut_metrics(run: Path, length: int) -> None:
    """Forget what was logged after a checkpoint: a resumed run logs those epochs again."""
    path = run / METRICS_JSONL
    size = path.stat().st_size if path.exists() else 0
    if size < length:
        raise DataError(
            f"cannot go on with {run}", why=f"{METRICS_JSONL} has {size} bytes, and its checkpoint knew of {length}",
            advice="restore it from a copy", kept="the run, untouched",
        )  # fmt: skip
    with path.open("ab") as file:
        file.truncate(length)


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Every record of `metrics.jsonl`, in order; a last line torn by a crash is left out."""
    records = []
    for line in (run / METRICS_JSONL).read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def environment(
    distributions: tuple[str, ...] = ("lenext", "torch", "numpy", "pillow", "safetensors"),
) -> dict[str, Any]:
    """What a result depends on beside the code and the configuration: versions, processor, operating system."""
    versions = {}
    for name in distributions:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "versions": versions,
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@contextlib.contextmanager
def deferred_signals() -> Iterator[list[int]]:
    """Collect the first SIGINT or SIGTERM in the yielded list; a second one acts at once, as it did before."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    try:
        for number in before:
            signal.signal(number, note)
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
