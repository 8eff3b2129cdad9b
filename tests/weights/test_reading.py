"""Files that others wrote. Oracles: torch.save and safetensors themselves; files that would do harm, and do not."""

import argparse
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from lenext.errors import WeightsError
from lenext.weights.reading import read_tensors
from lenext.weights.sandbox import find_tensors

TENSORS = {"conv.weight": torch.arange(24.0).view(2, 3, 2, 2), "bn.num_batches_tracked": torch.tensor(3)}


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)


@pytest.mark.parametrize(
    "content",
    [
        TENSORS,
        {"state_dict": TENSORS, "epoch": 3, "optimizer": {"lr": 0.1}},
        {"model": {f"module.{key}": value for key, value in TENSORS.items()}},
        {f"_orig_mod.{key}": value for key, value in TENSORS.items()},
    ],
    ids=["plain", "within a checkpoint", "of DataParallel", "of a compiled network"],
)
def test_tensors_are_found(content: dict[str, Any]) -> None:
    assert same(find_tensors(content), TENSORS)


@pytest.fixture(scope="module")
def beside_arguments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """What was read from a training program's file."""
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save({"model": TENSORS, "args": argparse.Namespace(lr=0.1)}, path)
    return read_tensors(path)


def test_tensors_of_a_file_are_found_beside_the_arguments_of_its_program(beside_arguments: dict[str, Tensor]) -> None:
    assert same(beside_arguments, TENSORS)


def test_the_form_of_before_2020_is_read(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert same(read_tensors(tmp_path / "old.pth"), TENSORS)


def test_safetensors_are_read_whatever_the_file_is_called(tmp_path: Path) -> None:
    safetensors.torch.save_file(TENSORS, tmp_path / "weights.bin")
    assert same(read_tensors(tmp_path / "weights.bin"), TENSORS)


class Harm:
    """Unpickling it would write a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("new_form", [True, False])
def test_a_pickle_that_would_run_code_is_refused_before_it_does(tmp_path: Path, new_form: bool) -> None:
    file, trace = tmp_path / "weights.pth", tmp_path / "harm"
    torch.save({**TENSORS, "x": Harm(trace)}, file, _use_new_zipfile_serialization=new_form)
    with pytest.raises(WeightsError, match="it holds more than tensors") as caught:
        read_tensors(file)
    assert "Re-running" not in str(caught.value)  # torch's advice to load it all the same
    assert not trace.exists()
    pickle.loads(pickle.dumps(Harm(trace)))  # the trap does work
    assert trace.exists()


def test_a_zip_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path: Path) -> None:
    plain = io.BytesIO()
    torch.save({"weight": torch.zeros(80 << 20)}, plain)  # 320 MiB
    with (
        zipfile.ZipFile(plain) as source,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb,
    ):
        for info in source.infolist():
            bomb.writestr(info.filename, source.read(info))
    assert (tmp_path / "bomb.pth").stat().st_size < 1 << 21
    with pytest.raises(WeightsError, match="far more memory"):
        read_tensors(tmp_path / "bomb.pth")


def test_a_small_tensor_that_says_it_is_huge_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1).expand(1 << 28)}, tmp_path / "bomb.pth")  # 1 GiB of one stored number
    assert (tmp_path / "bomb.pth").stat().st_size < 1 << 12
    with pytest.raises(WeightsError, match="far more memory"):
        read_tensors(tmp_path / "bomb.pth")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(b"", "cannot read weights", marks=pytest.mark.slow),
        (b"<html>404</html>", "cannot read weights"),
        pytest.param(b"PK\x03\x04 torn", "cannot read weights", marks=pytest.mark.slow),
        ((1 << 40).to_bytes(8, "little") + b"{", "cannot read weights"),
    ],
    ids=["empty", "a page", "torn", "header of a terabyte"],
)
def test_files_that_are_no_weights_are_refused(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=why):
        read_tensors(tmp_path / "weights.pth")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": {}}], ids=["a list", "numbers", "nothing"])
def test_without_named_tensors_none_are_found(content: Any) -> None:
    with pytest.raises(TypeError, match="no named tensors"):
        find_tensors(content)


def test_files_without_named_tensors_are_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="no named tensors"):
        read_tensors(tmp_path / "weights.pth")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No such file"):
        read_tensors(tmp_path / "weights.pth")


def test_what_is_no_file_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(WeightsError, match="it is no file"):
            read_tensors(path)


def test_a_header_may_begin_as_a_zip_does(tmp_path: Path) -> None:
    """A safetensors file whose header is 0x4B50 bytes long begins with the letters PK."""
    name = "w" * (0x4B50 - len('{"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'))
    header = f'{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}'.encode()
    assert len(header) == 0x4B50
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert list(read_tensors(tmp_path / "w.safetensors")) == [name]


def test_names_that_a_terminal_would_obey_are_written_out(tmp_path: Path) -> None:
    assert "\x1b" not in str(WeightsError("cannot", why="\x1b]0;owned\x07\nline", advice="x"))
    assert "\\x1b]0;owned" in str(WeightsError("cannot", why="\x1b]0;owned\x07\nline", advice="x"))


@pytest.mark.usefixtures("beside_arguments")
def test_reading_leaves_what_torch_holds_safe_as_it_was() -> None:
    assert argparse.Namespace not in torch.serialization.get_safe_globals()
