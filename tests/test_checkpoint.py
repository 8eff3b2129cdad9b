"""Checkpoints: the same bits back, an older generation, or an error; never other tensors.

Damage is done to real files; crashes are real processes killed just before a chosen change of a file.
"""

import functools
import hashlib
import itertools
import json
import resource
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lenext.checkpoint import Card, Checkpoint, load, load_weights, mend, restore, save, sweep
from lenext.config import digest
from lenext.errors import UsageError, WeightsError
from lenext.models.catalog import build
from lenext.models.init import initialise

from .dying import before_change, die, run_child

ROLES = ("card", "weights", "optimizer", "progress")


@functools.cache
def make(number: int) -> Checkpoint:
    """A checkpoint that shares nothing with another number's."""
    generator = torch.Generator().manual_seed(number)
    weights = {
        "conv.weight": torch.randn(4, 3, 3, 3, generator=generator),
        "bn.running_mean": torch.tensor([0.0, -0.0, float("inf"), 1e-45]),
        "bn.num_batches_tracked": torch.tensor(number),
        "half": torch.randn(5, generator=generator).bfloat16(),
        "empty": torch.zeros(0, 2),
    }
    return Checkpoint(
        card=Card(
            model="resnet20", changes={"num_classes": 10}, classes=("eins", "zwölf"), data="digits", epoch=number,
            step=number * 7, preprocessing={"mean": [0.1, 1 / 3], "fit": "pad"},
        ),
        weights=weights,
        optimizer={"momentum_buffer/conv.weight": torch.randn(4, 3, 3, 3, generator=generator)},
        progress={"step": number * 7, "loss_sum": 0.1 + 0.2 + number, "best_top1": None},
    )  # fmt: skip


def bits(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.dtype, tuple[int, ...], bytes]]:
    return {
        name: (value.dtype, tuple(value.shape), value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        for name, value in tensors.items()
    }


def same(one: Checkpoint, other: Checkpoint) -> bool:
    """Equal to the bit in all but the generation's number."""
    return (
        one.card == other.card
        and one.progress == other.progress
        and bits(one.weights) == bits(other.weights)
        and bits(one.optimizer) == bits(other.optimizer)
    )


def which(found: Checkpoint, count: int) -> int:
    """The number with which `found` was made; a mixture of two is none."""
    numbers = [number for number in range(count) if same(found, make(number))]
    assert len(numbers) == 1
    return numbers[0]


def manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return content


def names(folder: Path, generation: int) -> set[str]:
    return {entry["name"] for entry in manifest(folder)["generations"][generation].values()}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def two_generations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Numbers 0 and 1, the newer first; read only."""
    folder = tmp_path_factory.mktemp("checkpoints") / "last"
    save(folder, make(0))
    save(folder, make(1))
    return folder


@pytest.fixture
def folder(two_generations: Path, tmp_path: Path) -> Path:
    """A copy, free to be damaged."""
    return Path(shutil.copytree(two_generations, tmp_path / "last"))


# --- what is written ------------------------------------------------------------------------------------------------


def test_every_bit_comes_back(tmp_path: Path) -> None:
    save(tmp_path, make(3))
    found = load(tmp_path)
    assert same(found, make(3))
    assert found.generation == 0


def test_tensors_of_any_memory_format_come_back_by_value(tmp_path: Path) -> None:
    weight = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last).requires_grad_()
    save(tmp_path, Checkpoint(card=make(0).card, weights={"w": weight, "t": torch.arange(6).reshape(2, 3).T}))
    found = load(tmp_path).weights
    assert torch.equal(found["w"], weight)
    assert torch.equal(found["t"], torch.tensor([[0, 3], [1, 4], [2, 5]]))
    assert not found["w"].requires_grad


def test_two_newest_generations_stay_and_nothing_else(tmp_path: Path) -> None:
    for number in range(5):
        save(tmp_path, make(number))
        assert which(load(tmp_path), 5) == number
        assert len(manifest(tmp_path)["generations"]) == min(number + 1, 2)
        expected = {"manifest.json", "manifest-copy.json"}.union(
            *(names(tmp_path, n) for n in range(min(number + 1, 2)))
        )
        assert set(files(tmp_path)) == expected
    assert not names(tmp_path, 0) & names(tmp_path, 1)


def test_one_generation_stays_where_one_is_asked_for(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path, make(number), keep=1)
    assert set(files(tmp_path)) == {"manifest.json", "manifest-copy.json", *names(tmp_path, 0)}
    assert which(load(tmp_path), 3) == 2


def test_same_content_again_is_no_new_generation_and_writes_no_blob(folder: Path) -> None:
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    save(folder, make(1))
    after = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} <= {"manifest.json", "manifest-copy.json"}
    damaged = next(path for path in folder.iterdir() if path.name in names(folder, 0))
    damaged.write_bytes(b"")
    assert which(load(folder), 2) == 0


def test_blobs_are_never_written_over(tmp_path: Path) -> None:
    """A blob keeps its inode and its content from its first day to its last."""
    seen: dict[str, tuple[int, bytes]] = {}
    for number in (0, 1, 0, 2, 1, 1, 3):
        save(tmp_path, make(number))
        for path in tmp_path.iterdir():
            if not path.name.startswith("manifest"):
                now = (path.stat().st_ino, path.read_bytes())
                assert seen.setdefault(path.name, now) == now
        seen = {name: value for name, value in seen.items() if (tmp_path / name).exists()}


def test_names_carry_the_start_of_the_sha256_and_the_manifest_the_whole(folder: Path) -> None:
    for generation in manifest(folder)["generations"]:
        assert set(generation) == set(ROLES)
        for role, entry in generation.items():
            content = (folder / entry["name"]).read_bytes()
            sha256 = hashlib.sha256(content).hexdigest()
            assert entry["sha256"] == sha256
            assert entry["bytes"] == len(content)
            assert entry["name"].startswith(f"{role}-{sha256[:16]}.")


def test_nothing_is_a_pickle(folder: Path) -> None:
    """Oracle: the formats' own rules. JSON parses; safetensors is a length, a JSON header and plain numbers."""
    for name, content in files(folder).items():
        if name.endswith(".json"):
            json.loads(content)
            continue
        assert name.endswith(".safetensors")
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        assert max(value["data_offsets"][1] for value in header.values()) == len(content) - 8 - length
    assert all(not content.startswith((b"\x80", b"PK")) for content in files(folder).values())


# --- damage ---------------------------------------------------------------------------------------------------------


def flip(place: int) -> Callable[[bytes], bytes]:
    """Invert a bit of the byte at `place`, counted in thousandths of the file."""

    def change(content: bytes) -> bytes:
        index = min(len(content) * place // 1000, len(content) - 1)
        return content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :]

    return change


DAMAGE: dict[str, Callable[[bytes], bytes] | None] = {
    **{f"flipped at {place}": flip(place) for place in (0, 3, 10, 250, 500, 750, 990, 1000)},
    "cut by one": lambda content: content[:-1],
    "cut in half": lambda content: content[: len(content) // 2],
    "emptied": lambda content: b"",
    "longer": lambda content: content + b"\0",
    "zeroed": lambda content: bytes(len(content)),
    "removed": None,
}


def damage(path: Path, kind: str) -> None:
    change = DAMAGE[kind]
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_newest_generation_gives_the_older_one(folder: Path, kind: str, role: str) -> None:
    damage(folder / manifest(folder)["generations"][0][role]["name"], kind)
    found = load(folder)
    assert which(found, 2) == 0
    assert found.generation == 1


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_older_generation_changes_nothing(folder: Path, kind: str, role: str) -> None:
    damage(folder / manifest(folder)["generations"][1][role]["name"], kind)
    found = load(folder)
    assert which(found, 2) == 1
    assert found.generation == 0


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_in_both_generations_is_said_with_the_files(folder: Path, kind: str) -> None:
    broken = [manifest(folder)["generations"][n]["weights"]["name"] for n in (0, 1)]
    for name in broken:
        damage(folder / name, kind)
    with pytest.raises(WeightsError) as caught:
        load(folder)
    assert caught.value.exit_code == 4
    assert all(name in caught.value.why for name in broken)


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.slow)])  # 11: each of a byte's bits comes up
@pytest.mark.parametrize("name", ["manifest.json", "manifest-copy.json"])
def test_one_manifest_changed_cut_or_gone_loses_no_generation(folder: Path, name: str, every: int) -> None:
    """Bytes, one bit each, and lengths."""
    path = folder / name
    whole = path.read_bytes()
    for index in range(0, len(whole), every):
        changed = bytes([whole[index] ^ (1 << index % 8)])
        for content in (whole[:index] + changed + whole[index + 1 :], whole[:index]):
            path.write_bytes(content)
            assert load(folder).card.epoch == 1
    sweep(folder)
    path.unlink()
    assert which(load(folder), 2) == 1
    path.mkdir()
    assert which(load(folder), 2) == 1
    path.rmdir()
    mend(folder)
    assert path.read_bytes() == whole


def test_damaged_manifest_and_damaged_newest_generation_give_the_older_one(folder: Path) -> None:
    damage(folder / manifest(folder)["generations"][0]["weights"]["name"], "flipped at 500")
    damage(folder / "manifest.json", "emptied")
    found = load(folder)
    assert (which(found, 2), found.generation) == (0, 1)


def test_damage_in_both_manifests_is_said(folder: Path) -> None:
    for name in ("manifest.json", "manifest-copy.json"):
        damage(folder / name, "flipped at 500")
    with pytest.raises(WeightsError, match=r"manifest\.json.*manifest-copy\.json"):
        load(folder)


def test_checkpoint_without_a_copy_loads_and_mending_makes_one(folder: Path) -> None:
    """As lenext wrote it before it kept a copy."""
    before = files(folder)
    (folder / "manifest-copy.json").unlink()
    assert which(load(folder), 2) == 1
    mend(folder)
    assert files(folder) == before


@pytest.mark.slow
def test_any_byte_of_any_file_changed_gives_the_older_generation(folder: Path) -> None:
    for name in sorted(names(folder, 0)):
        whole = (folder / name).read_bytes()
        for index, byte in enumerate(whole):
            (folder / name).write_bytes(whole[:index] + bytes([byte ^ (1 << index % 8)]) + whole[index + 1 :])
            assert which(load(folder), 2) == 0
        (folder / name).write_bytes(whole)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b"null", b"{}", b"\xff\xfe", b'{"digest": 1}', b'{"generations": []}', b"[" * 99],
)
def test_manifests_that_are_garbage_are_said(folder: Path, content: bytes) -> None:
    (folder / "manifest-copy.json").write_bytes(content)
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(WeightsError):
        load(folder)


def forge(folder: Path, generations: object, form: object = 1) -> None:
    """A manifest whose own digest is right."""
    content: dict[str, Any] = {"format": form, "generations": generations}
    (folder / "manifest.json").write_text(json.dumps({**content, "digest": digest(content)}))


@pytest.mark.parametrize(
    "generations",
    [[], [{}], [[]], [3], {}, "x", None, [{"card": {}}], [{"card": {"name": "a", "bytes": 1, "sha256": "b"}}], [None]],
)
def test_manifest_of_another_shape_is_said_even_with_a_right_digest(folder: Path, generations: object) -> None:
    forge(folder, generations)
    with pytest.raises(WeightsError):
        load(folder)


@pytest.mark.parametrize("form", [2, 0, None, "1"])
def test_manifest_of_another_format_is_said(folder: Path, form: object) -> None:
    forge(folder, manifest(folder)["generations"], form)
    with pytest.raises(WeightsError, match=f"its format is {form!r}"):
        load(folder)


@pytest.mark.parametrize("trick", ["../{}", "{folder}/../{}", "./../{}", "..", ".", "", "/", "link/{}", "a\0b", "{}/"])
@pytest.mark.parametrize("role", ROLES)
def test_no_name_in_a_manifest_leads_out_of_the_folder(folder: Path, role: str, trick: str) -> None:
    """The file outside is right in size and digest, so that only its place is wrong."""
    generation = manifest(folder)["generations"][0]
    inside = folder / generation[role]["name"]
    inside.rename(folder.parent / inside.name)
    (folder / "link").symlink_to(folder.parent)
    generation[role]["name"] = trick.format(inside.name, folder=folder)
    forge(folder, [generation])
    with pytest.raises(WeightsError):
        load(folder)


def test_mending_leaves_whole_generations_and_hopeless_ones_alone(folder: Path) -> None:
    before = files(folder)
    mend(folder)
    assert files(folder) == before
    for generation in (0, 1):
        (folder / manifest(folder)["generations"][generation]["card"]["name"]).unlink()
    before = files(folder)
    mend(folder)
    assert files(folder) == before


def test_folder_that_is_none_is_said(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(WeightsError, match=r"it has no manifest\.json"):
            load(place)


# --- saving over damage ---------------------------------------------------------------------------------------------


def test_damaged_blob_is_written_anew_when_its_content_is_saved_again(folder: Path) -> None:
    damage(folder / manifest(folder)["generations"][0]["weights"]["name"], "flipped at 500")
    save(folder, make(1))
    found = load(folder)
    assert which(found, 2) == 1
    assert found.generation == 0


def test_whole_generation_is_kept_rather_than_a_damaged_newer_one(folder: Path) -> None:
    """Number 1 is damaged, so 0 was resumed: after the next save, 0 is still the one to fall back on."""
    damage(folder / manifest(folder)["generations"][0]["weights"]["name"], "flipped at 500")
    mend(folder)
    save(folder, make(2))
    assert which(load(folder), 3) == 2
    damage(folder / manifest(folder)["generations"][0]["weights"]["name"], "flipped at 500")
    assert which(load(folder), 3) == 0


def test_generation_that_only_the_copy_names_is_kept_by_the_next_save(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    save(folder, make(2))
    damage(folder / manifest(folder)["generations"][0]["weights"]["name"], "removed")
    assert which(load(folder), 3) == 1


# --- crashes --------------------------------------------------------------------------------------------------------


def _save_and_die(folder: Path, moment: int, keep: int) -> None:
    before_change(moment, folder, die)
    for number in (1, 2):
        save(folder, make(number), keep=keep)


def deaths(tmp_path: Path, keep: int, every: int) -> Iterator[Path]:
    """Folders of number 0, each of a process that was killed some changes of a file later while it saved 1 and 2."""
    for moment in itertools.count(1, every):
        folder = tmp_path / f"killed-{moment}" / "last"
        save(folder, make(0), keep=keep)
        code = run_child(_save_and_die, folder, moment, keep)
        yield folder
        if code == 0:
            return
        assert code == -signal.SIGKILL


@pytest.mark.parametrize(("keep", "every"), [(1, 3), (2, 2), pytest.param(2, 1, marks=pytest.mark.slow)])
def test_process_killed_at_any_change_of_a_file_leaves_the_old_or_the_new_generation_whole(
    tmp_path: Path, keep: int, every: int
) -> None:
    found = []
    for folder in deaths(tmp_path, keep, every):
        loaded = load(folder)
        found.append(which(loaded, 3))
        assert loaded.generation == 0
        sweep(folder)
        (folder / "manifest.json").rename(folder / "away")  # the copy stands in, and is never the older one
        if (folder / "manifest-copy.json").exists():
            standing = load(folder)
            assert (which(standing, 3) >= found[-1], standing.generation) == (True, 0)
        (folder / "away").rename(folder / "manifest.json")
        mend(folder)
        assert set(files(folder)) == {"manifest.json", "manifest-copy.json"}.union(
            *(names(folder, n) for n in range(len(manifest(folder)["generations"])))
        )
        assert same(load(folder), loaded)
        save(folder, make(9), keep=keep)
        assert same(load(folder), make(9))
    assert found == sorted(found)
    assert set(found) == {0, 1, 2}
    assert len(found) > 20 // every  # ten files written beside and renamed, and those of old generations removed


def test_full_disk_is_exit_6_and_leaves_the_generations_whole(tmp_path: Path) -> None:
    """A limit between the sizes of the files, so that some of the new generation are written and some are not."""
    save(tmp_path, make(0))
    save(tmp_path, make(1))
    sizes = sorted(len(content) for content in files(tmp_path).values())
    for limit in (0, sizes[2], sizes[-1] - 1):
        assert run_child(_save_on_a_full_disk, tmp_path, limit) == 6
        assert which(load(tmp_path), 3) == 1
    save(tmp_path, make(2))
    assert which(load(tmp_path), 3) == 2
    assert set(files(tmp_path)) == {"manifest.json", "manifest-copy.json", *names(tmp_path, 0), *names(tmp_path, 1)}


def _save_on_a_full_disk(folder: Path, limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    save(folder, make(2))


def test_sweep_removes_what_a_crash_left_and_nothing_of_others(folder: Path) -> None:
    expected = files(folder)
    leftovers = ["weights-0123456789abcdef.safetensors", ".weights-0123456789abcdef.safetensors.7.part",
                 ".manifest.json.12.part", "card-0123456789abcdef.json"]  # fmt: skip
    mine = {"notes.txt": b"mine", "weights.safetensors": b"mine", "weights-best.safetensors": b"mine"}
    for name in leftovers:
        (folder / name).write_bytes(b"x")
    for name, content in mine.items():
        (folder / name).write_bytes(content)
    (folder / "folder").mkdir()
    sweep(folder)
    assert files(folder) == {**expected, **mine}
    assert (folder / "folder").is_dir()


# --- weights into networks ------------------------------------------------------------------------------------------


def test_network_comes_back_with_its_weights_in_evaluation_mode(tmp_path: Path) -> None:
    model = build("lenet5_relu", num_classes=3)
    initialise(model, "he_normal", seed=4)
    card = Card(model="lenet5_relu", changes={"num_classes": 3}, classes=("a", "b", "c"), preprocessing={}, data="d")
    save(tmp_path, Checkpoint(card=card, weights=model.state_dict()))
    found = restore(load(tmp_path))
    assert bits(found.state_dict()) == bits(model.state_dict())
    assert not any(module.training for module in found.modules())
    images = torch.rand(2, 1, 28, 28)
    assert torch.equal(found(images), model.eval()(images))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda w: w.pop("head.output.bias"), "missing ['head.output.bias']"),
        (lambda w: w.update(extra=torch.zeros(1)), "not asked for ['extra']"),
        (lambda w: w.update({"head.output.bias": torch.zeros(11)}), "other shape ['head.output.bias']"),
    ],
)
def test_weights_that_do_not_fit_are_refused_before_any_is_copied(
    change: Callable[[dict[str, Tensor]], object], why: str
) -> None:
    model = build("lenet5_relu")
    before = bits(model.state_dict())
    weights = {name: torch.full_like(value, 7) for name, value in model.state_dict().items()}
    change(weights)
    with pytest.raises(WeightsError) as caught:
        load_weights(model, weights)
    assert why in caught.value.why
    assert bits(model.state_dict()) == before


def test_card_of_a_network_that_is_not_in_the_catalog_names_the_nearest(tmp_path: Path) -> None:
    card = Card(model="lenet_5", changes={}, classes=("a",), preprocessing={}, data="d")
    save(tmp_path, Checkpoint(card=card, weights={}))
    with pytest.raises(UsageError, match=r"did you mean 'lenet5'\?"):
        restore(load(tmp_path))


def test_loaded_tensors_are_their_own_memory(tmp_path: Path) -> None:
    """Training goes on in them; the file may be swept meanwhile."""
    save(tmp_path, make(0))
    found = load(tmp_path)
    shutil.rmtree(tmp_path)
    weight = found.weights["conv.weight"]
    weight.add_(1)
    expected = make(0).weights["conv.weight"] + 1
    np.testing.assert_array_equal(weight.numpy(), expected.numpy())
