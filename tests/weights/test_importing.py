"""From a file to a checkpoint that predicts. Oracles: the tensors of the file, the publishers' own figures."""

import re
from pathlib import Path

import pytest
import safetensors.torch
import torch

from lenext import checkpoint as checkpoints
from lenext.config import from_mapping
from lenext.data.preprocessing import Preprocessing
from lenext.errors import MachineError, UsageError, WeightsError
from lenext.models.catalog import get_config
from lenext.papers import load_papers
from lenext.weights.importing import import_weights
from lenext.weights.published import choose_published, class_names, published_weights

from .names import resnet18_tensors


def write(path: Path, classes: int = 1000) -> Path:
    """As safetensors, whatever it is called: reading pickles has tests of its own, and takes a process each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(resnet18_tensors(classes), path)
    return path


def test_a_published_file_brings_its_preprocessing_and_names(tmp_path: Path) -> None:
    imported = import_weights(write(tmp_path / "resnet18-f37072fd.pth"), "resnet18", tmp_path / "out")
    assert (imported.source, imported.fed.tag, imported.assumed) == ("torchvision", "IMAGENET1K_V1", False)
    card = checkpoints.load(tmp_path / "out").card
    assert (card.model, card.data) == ("resnet18", "resnet18-f37072fd.pth of torchvision")
    assert card.classes[281] == "tabby" and len(card.classes) == 1000
    fed = from_mapping(Preprocessing, card.preprocessing)
    assert (fed.size, fed.interpolation, fed.fit) == ((224, 224), "bilinear", "crop")
    assert fed.crop_fraction == 224 / 256
    assert fed.mean == (0.485, 0.456, 0.406) and fed.std == (0.229, 0.224, 0.225)


def test_the_checkpoint_holds_the_files_numbers(tmp_path: Path) -> None:
    torch.save(resnet18_tensors(), tmp_path / "w.pth")
    import_weights(tmp_path / "w.pth", "resnet18", tmp_path / "out", "torchvision")
    model = checkpoints.restore(checkpoints.load(tmp_path / "out"))
    assert torch.equal(
        model.state_dict()["stages.conv5_x.1.bn2.running_var"], resnet18_tensors()["layer4.1.bn2.running_var"]
    )
    assert not model.training


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    tensors = {key: value.half() if value.is_floating_point() else value for key, value in resnet18_tensors().items()}
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    import_weights(tmp_path / "model.safetensors", "resnet18", tmp_path / "out", "timm")
    assert checkpoints.load(tmp_path / "out").weights["head.fc.bias"].dtype == torch.float32


def test_a_tag_decides_how_the_weights_are_fed(tmp_path: Path) -> None:
    imported = import_weights(write(tmp_path / "w.pth"), "resnet18", tmp_path / "out", tag="resnet18.a3_in1k")
    assert (imported.source, imported.assumed) == ("timm", False)
    fed = imported.fed.preprocessing()
    assert (fed["size"], fed["crop_fraction"], fed["interpolation"]) == ([160, 160], 0.95, "bicubic")


def test_a_file_that_does_not_tell_is_fed_as_the_sources_default_and_this_is_said(tmp_path: Path) -> None:
    imported = import_weights(write(tmp_path / "w.pth"), "resnet18", tmp_path / "out")
    assert imported.assumed and imported.fed.tag == "IMAGENET1K_V1"


def test_other_numbers_of_classes_have_numbers_for_names(tmp_path: Path) -> None:
    import_weights(write(tmp_path / "w.pth", classes=3), "resnet18", tmp_path / "out")
    assert checkpoints.load(tmp_path / "out").card.classes == ("class 0", "class 1", "class 2")


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    tensors = resnet18_tensors()
    tensors["fc.bias"][3] = float("nan")
    torch.save(tensors, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"no numbers: head\.fc\.bias"):
        import_weights(tmp_path / "w.pth", "resnet18", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("model", "source", "tag", "why"),
    [
        ("resnet50_v1", "", "", "no library has a network"),
        ("resnet18", "original", "", "original has no network"),
        ("resnet18", "timm", "resnet18.zz", "unknown tag"),
        ("resnet34", "", "", "are missing"),
    ],
)
def test_what_does_not_fit_is_refused_and_writes_nothing(
    tmp_path: Path, model: str, source: str, tag: str, why: str
) -> None:
    with pytest.raises((UsageError, WeightsError), match=why):
        import_weights(write(tmp_path / "w.pth"), model, tmp_path / "out", source, tag)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_exists_is_left(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="it exists"):
        import_weights(write(tmp_path / "w.pth"), "resnet18", tmp_path / "out")


def test_everything_published_belongs_to_a_network_and_can_be_fed_to_it() -> None:
    for row in load_papers().values():
        for one in published_weights(row):
            preprocessing = from_mapping(Preprocessing, one.preprocessing())
            assert get_config(row.name).accepts(preprocessing.size[0]), one
            assert one.tag and one.classes > 1
            assert one.top1 is None or 50 < one.top1 < 92
    tags = [one.tag for row in load_papers().values() for one in published_weights(row) if one.source == "timm"]
    assert len(tags) == len(set(tags))


def test_torchvisions_files_carry_a_digest_in_their_names() -> None:
    files = [
        one.file for row in load_papers().values() for one in published_weights(row) if one.source == "torchvision"
    ]
    assert files and all(re.search(r"-[0-9a-f]{8}\.pth$", file) for file in files)


def test_choosing_names_what_there_is() -> None:
    row = load_papers()["resnet18"]
    assert choose_published(row).tag == "IMAGENET1K_V1"
    assert choose_published(row, "timm").tag == "resnet18.a1_in1k"
    with pytest.raises(UsageError, match=r"did you mean 'resnet18\.a1_in1k'"):
        choose_published(row, tag="resnet18.a1_in")
    with pytest.raises(UsageError, match="neither torchvision nor timm"):
        choose_published(load_papers()["lenet5"])


def test_class_names_are_imagenets_or_numbers() -> None:
    names = class_names(1000)
    assert len(set(names)) == 1000
    assert (names[0], names[967], names[999]) == ("tench", "espresso", "toilet tissue")
    assert class_names(2) == ("class 0", "class 1")


def test_an_import_that_fails_on_the_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, *_: object) -> None:
        (folder / "card.json").touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save", full)
    file = write(tmp_path / "w.pth")
    with pytest.raises(MachineError, match="No space left"):
        import_weights(file, "resnet18", tmp_path / "out")
    assert list(tmp_path.iterdir()) == [file]


def test_a_checkpoint_has_no_lock(tmp_path: Path) -> None:
    import_weights(write(tmp_path / "w.pth"), "resnet18", tmp_path / "out")
    assert {path.name.partition("-")[0] for path in (tmp_path / "out").iterdir()} == {
        "card", "manifest", "manifest.json", "optimizer", "progress", "weights",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["convnext_tiny", "convnextv2_atto", "tf_efficientnet_lite0"])
def test_authors_weights_are_fed_as_their_code_does(name: str) -> None:
    fed = choose_published(load_papers()[name], "original").preprocessing()
    assert (fed["interpolation"], fed["crop_fraction"]) == ("bicubic", 0.875)
