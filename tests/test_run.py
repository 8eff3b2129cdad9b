"""The run folder: whole or absent, one process at a time, files that a crash leaves old or new."""

import json
import os
import platform
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from lenext import run as runs
from lenext.errors import DataError, LockedError, MachineError

from .dying import before_change, die, pipe, run_child, start_child


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- created whole --------------------------------------------------------------------------------------------------


def test_run_appears_whole_by_one_rename(tmp_path: Path) -> None:
    run = tmp_path / "deep" / "er" / "run"
    with runs.staged(run) as staging:
        (staging / "part").mkdir()
        (staging / "part" / "file").write_text("x")
        assert not run.exists()
    found = content(tmp_path / "deep")
    found.pop("er/run/.lock")
    assert found == {"er/run/part/file": b"x"}


def test_what_a_killed_process_left_of_the_same_run_goes_and_nothing_else(tmp_path: Path) -> None:
    left, held, other = (tmp_path / name for name in (".run.1.new", ".run.2.new", ".run-2.3.new"))
    for folder in (left, held, other):
        folder.mkdir()
        (folder / "file").write_text("x")
        (folder / ".lock").touch()
    with runs.locked(held), runs.staged(tmp_path / "run"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, held.name, "run"]


@pytest.mark.parametrize("error", [ArithmeticError, KeyboardInterrupt, SystemExit])
def test_run_that_fails_on_the_way_vanishes(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), runs.staged(tmp_path / "run") as staging:
        (staging / "file").write_text("x")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_existing_folder_is_refused_and_untouched(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "mine").write_text("precious")
    with pytest.raises(DataError, match="it exists already") as caught, runs.staged(run):
        raise AssertionError("entered")
    assert "untouched" in caught.value.kept
    with pytest.raises(DataError, match="it exists already"):
        runs.refuse_existing(run)
    runs.refuse_existing(tmp_path / "other")
    assert content(tmp_path) == {"run/mine": b"precious"}


def test_folder_that_another_process_made_meanwhile_is_untouched(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(MachineError, match="not empty"), runs.staged(run) as staging:
        (staging / "file").write_text("x")
        run.mkdir()
        (run / "mine").write_text("precious")
    assert content(tmp_path) == {"run/mine": b"precious"}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_place_that_cannot_be_written_is_exit_6(tmp_path: Path) -> None:
    """A file stands where the parent folder should be; permissions would not stop root."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(MachineError) as caught, runs.staged(tmp_path / "file" / "run"):
        raise AssertionError("entered")
    assert caught.value.exit_code == 6
    assert "--run DIR" in caught.value.advice
    assert content(tmp_path) == {"file": b"x"}


def test_full_disk_while_a_run_is_made_is_exit_6_and_leaves_nothing(tmp_path: Path) -> None:
    assert run_child(_stage_on_a_full_disk, tmp_path / "run") == 6
    assert list(tmp_path.iterdir()) == []


def _stage_on_a_full_disk(run: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    with runs.staged(run) as staging:
        (staging / "file").write_bytes(bytes(1000))


def test_free_name_is_the_first_that_is_not_there(tmp_path: Path) -> None:
    assert runs.free_name(tmp_path, "digits-lenet5") == tmp_path / "digits-lenet5"
    (tmp_path / "digits-lenet5").mkdir()
    (tmp_path / "digits-lenet5-2").touch()
    (tmp_path / "digits-lenet5-4").touch()
    assert runs.free_name(tmp_path, "digits-lenet5") == tmp_path / "digits-lenet5-3"


# --- the lock -------------------------------------------------------------------------------------------------------


def test_second_process_gets_exit_8_and_the_name_of_the_first(tmp_path: Path) -> None:
    ours, theirs = pipe()
    owner = start_child(_hold, tmp_path, theirs)
    assert ours.recv() == "held"
    assert run_child(_lock, tmp_path) == 8
    with pytest.raises(LockedError) as caught, runs.locked(tmp_path):
        raise AssertionError("entered")
    assert caught.value.exit_code == 8
    assert caught.value.why == f"another process holds it (pid {owner.pid} on {platform.node()})"
    ours.send("go")
    owner.join()
    assert owner.exitcode == 0
    assert run_child(_lock, tmp_path) == 0


def test_killed_owner_leaves_no_lock(tmp_path: Path) -> None:
    ours, theirs = pipe()
    owner = start_child(_hold, tmp_path, theirs)
    assert ours.recv() == "held"
    owner.kill()
    owner.join()
    assert owner.exitcode == -signal.SIGKILL
    (tmp_path / ".lock").write_text("pid 4194304 on a machine with a name that is longer than this one's" * 2)
    with runs.locked(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"pid {os.getpid()} on {platform.node()}\n"


def test_lock_excludes_a_second_user_in_the_same_process_and_goes_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError), runs.locked(tmp_path):
        with pytest.raises(LockedError), runs.locked(tmp_path):
            raise AssertionError("entered")
        raise ArithmeticError
    with runs.locked(tmp_path):
        pass


def _hold(run: Path, connection: Any) -> None:
    with runs.locked(run):
        connection.send("held")
        connection.recv()


def _lock(run: Path) -> None:
    with runs.locked(run):
        pass


# --- files ----------------------------------------------------------------------------------------------------------


def test_file_is_replaced_whole_and_nothing_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for text in (b"old", b"new and longer", b""):
        runs.write_durably(path, text)
        assert content(tmp_path) == {"file": text}


@pytest.mark.parametrize("moment", [1, 2])
def test_killed_writer_leaves_the_old_file(tmp_path: Path, moment: int) -> None:
    """Killed before it writes beside the file, and before it renames."""
    runs.write_durably(tmp_path / "file", b"old")
    assert run_child(_write_and_die, tmp_path / "file", moment) == -signal.SIGKILL
    assert (tmp_path / "file").read_bytes() == b"old"
    assert run_child(_write_and_die, tmp_path / "file", 3) == 0
    assert (tmp_path / "file").read_bytes() == b"new"


def _write_and_die(path: Path, moment: int) -> None:
    before_change(moment, path.parent, die)
    runs.write_durably(path, b"new")


def test_full_disk_is_exit_6_and_leaves_the_old_file_alone(tmp_path: Path) -> None:
    runs.write_durably(tmp_path / "file", b"old")
    assert run_child(_write_on_a_full_disk, tmp_path / "file") == 6
    assert content(tmp_path) == {"file": b"old"}


def _write_on_a_full_disk(path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    runs.write_durably(path, bytes(1000))


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_folder_that_is_none_is_exit_6(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(MachineError, match="cannot write"):
        runs.write_durably(tmp_path / folder / "name", b"new")
    assert content(tmp_path) == {"file": b"x"}


def test_json_goes_round_with_text_for_people(tmp_path: Path) -> None:
    runs.write_json(tmp_path / "a.json", {"b": "ä", "a": [1, 2.5, None]})
    assert (tmp_path / "a.json").read_text(encoding="utf-8").startswith('{\n  "b": "ä"')
    assert runs.read_json(tmp_path / "a.json") == {"b": "ä", "a": [1, 2.5, None]}


@pytest.mark.parametrize(
    ("text", "why"),
    [(None, "there is no such file"), (b"{", "damaged"), (b"\xff", "damaged"), (b"[]", "no JSON object"), (b"", "dam")],
)
def test_json_that_is_none_is_a_data_error_naming_the_file(tmp_path: Path, text: bytes | None, why: str) -> None:
    path = tmp_path / "a.json"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(DataError) as caught:
        runs.read_json(path)
    assert str(path) in caught.value.what
    assert why in caught.value.why


# --- run.json -------------------------------------------------------------------------------------------------------


def test_index_names_every_file_with_its_digest(tmp_path: Path) -> None:
    """Oracle: sha256 of "abc", from FIPS 180-4's examples."""
    (tmp_path / "a.txt").write_bytes(b"abc")
    (tmp_path / ".lock").write_bytes(b"pid")
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "manifest.json").write_bytes(b"abc")
    (tmp_path / "best" / "weights").write_bytes(b"abc")
    runs.update_run(tmp_path, model="x")
    abc = {"sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "bytes": 3}
    assert runs.load_run(tmp_path) == {
        "format": 1,
        "model": "x",
        "files": {"a.txt": abc, "best/manifest.json": abc},
    }


def test_index_keeps_what_is_not_changed_and_forgets_files_that_are_gone(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abc")
    runs.update_run(tmp_path, model="x", status="running")
    (tmp_path / "a.txt").unlink()
    assert runs.update_run(tmp_path, status="finished") == runs.load_run(tmp_path)
    assert runs.load_run(tmp_path) == {"format": 1, "model": "x", "status": "finished", "files": {}}


def test_what_is_written_once_keeps_its_first_digest(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"abc")
    first = runs.update_run(tmp_path)["files"]
    (tmp_path / "config.toml").write_bytes(b"edited")
    assert runs.update_run(tmp_path)["files"] == first


def test_answers_are_forgotten_and_nothing_else(tmp_path: Path) -> None:
    kept = ["config.toml", "metrics.jsonl", "split.csv"]
    for name in [*kept, "predictions-test.npz", "metrics-test.json", "gallery.npz", "report.html"]:
        (tmp_path / name).touch()
    runs.forget_answers(tmp_path)
    assert sorted(content(tmp_path)) == kept


def test_folder_without_index_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"it has no run\.json"):
        runs.load_run(tmp_path)
    with pytest.raises(DataError, match="cannot use"):
        runs.load_run(tmp_path / "nowhere")


@pytest.mark.parametrize("number", [2, None, "1"])
def test_run_of_another_format_is_refused(tmp_path: Path, number: object) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"format": number}))
    with pytest.raises(DataError, match="use the lenext that wrote it"):
        runs.load_run(tmp_path)


# --- metrics --------------------------------------------------------------------------------------------------------

RECORDS: list[dict[str, Any]] = [
    {"kind": "epoch", "epoch": n, "train_loss": 1 / (n + 1), "why": "ä\n"} for n in range(3)
]


def test_metrics_are_read_as_appended_and_cut_back_to_a_length(tmp_path: Path) -> None:
    lengths = [runs.append_metrics(tmp_path, record) for record in RECORDS]
    assert runs.read_metrics(tmp_path) == RECORDS
    assert lengths[-1] == (tmp_path / "metrics.jsonl").stat().st_size
    runs.cut_metrics(tmp_path, lengths[0])
    assert runs.read_metrics(tmp_path) == RECORDS[:1]
    assert [runs.append_metrics(tmp_path, record) for record in RECORDS[1:]] == lengths[1:]
    assert runs.read_metrics(tmp_path) == RECORDS
    runs.cut_metrics(tmp_path, 0)
    assert runs.read_metrics(tmp_path) == []


def test_last_line_torn_anywhere_is_left_out(tmp_path: Path) -> None:
    *_, start, end = [runs.append_metrics(tmp_path, record) for record in RECORDS]
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    for length in range(start, end - 1):
        path.write_bytes(whole[:length])
        assert runs.read_metrics(tmp_path) == RECORDS[:-1]


@pytest.mark.parametrize("text", [None, b"", b'{"kind"'])
def test_log_shorter_than_its_checkpoint_knew_it_is_said_and_not_filled_up(tmp_path: Path, text: bytes | None) -> None:
    path = tmp_path / "metrics.jsonl"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(DataError, match=r"metrics\.jsonl has \d bytes, and its checkpoint knew of 40"):
        runs.cut_metrics(tmp_path, 40)
    assert content(tmp_path) == ({} if text is None else {"metrics.jsonl": text})


def test_full_disk_while_logging_is_exit_6(tmp_path: Path) -> None:
    runs.append_metrics(tmp_path, RECORDS[0])
    assert run_child(_log_on_a_full_disk, tmp_path) == 6
    assert runs.read_metrics(tmp_path) == RECORDS[:1]


def _log_on_a_full_disk(run: Path) -> None:
    size = (run / "metrics.jsonl").stat().st_size + 5
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    runs.append_metrics(run, RECORDS[1])


# --- environment and signals ----------------------------------------------------------------------------------------


def test_environment_tells_versions_and_machine() -> None:
    import torch

    found = runs.environment(("torch", "no-such-distribution"))
    assert found["versions"] == {"torch": torch.__version__}
    assert found["python"] == platform.python_version()
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert found["processor"] and json.dumps(found)
    assert sys.platform in found["platform"].lower()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_is_noted_and_the_second_acts_at_once(number: signal.Signals) -> None:
    """Here a second Ctrl-C is Python's KeyboardInterrupt; SIGTERM's own action would end the test."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), runs.deferred_signals() as received:
        assert received == []
        os.kill(os.getpid(), number)
        assert received == [number]
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("not interrupted")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_handlers_come_back_where_no_signal_came() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with runs.deferred_signals() as received:
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert received == []
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_other_threads_leave_the_handlers_alone() -> None:
    """Python sets handlers in the main thread only; a training in another thread still runs."""
    entered: list[list[int]] = []

    def work() -> None:
        with runs.deferred_signals() as received:
            entered.append(received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [[]]
