"""Names and shapes of others. Oracles: their published names, and torch's own layers run on the tensors by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lenext.errors import UsageError, WeightsError
from lenext.models.catalog import build
from lenext.models.classifier import Classifier
from lenext.models.init import initialise
from lenext.weights import convert, convert_with_report
from lenext.weights.keymaps import key_map

from .names import resnet18_tensors


def forward_by_hand(t: dict[str, Tensor], x: Tensor) -> Tensor:
    """He et al. 2015, Table 1, 18 layers, from the tensors under torchvision's names."""

    def norm(name: str, x: Tensor) -> Tensor:
        mean, var = t[f"{name}.running_mean"], t[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, t[f"{name}.weight"], t[f"{name}.bias"])

    x = F.max_pool2d(F.relu(norm("bn1", F.conv2d(x, t["conv1.weight"], stride=2, padding=3))), 3, 2, 1)
    for stage in range(1, 5):
        for block in range(2):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = F.relu(norm(f"{name}.bn1", F.conv2d(x, t[f"{name}.conv1.weight"], stride=stride, padding=1)))
            y = norm(f"{name}.bn2", F.conv2d(y, t[f"{name}.conv2.weight"], padding=1))
            if f"{name}.downsample.0.weight" in t:
                x = norm(f"{name}.downsample.1", F.conv2d(x, t[f"{name}.downsample.0.weight"], stride=stride))
            x = F.relu(x + y)
    return F.linear(x.mean((2, 3)), t["fc.weight"], t["fc.bias"])


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_converted_weights_give_the_scores_of_the_same_arithmetic(source: str) -> None:
    tensors = resnet18_tensors(classes=10)
    model = build("resnet18", num_classes=10).eval()
    model.load_state_dict(convert(tensors, "resnet18", source))
    images = torch.randn(2, 3, 65, 65, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(model(images), forward_by_hand(tensors, images), rtol=1e-4, atol=1e-4)


def test_report_counts_every_tensor() -> None:
    report = convert_with_report(resnet18_tensors(), "resnet18", "torchvision")
    assert str(report) == "122 of 122 tensors"
    assert set(report.weights) == set(build("resnet18").state_dict())


def test_a_name_takes_as_many_classes_as_the_weights_have() -> None:
    weights = convert(resnet18_tensors(classes=7), "resnet18", "torchvision")
    assert weights["head.fc.weight"].shape == (7, 512)


def test_a_network_keeps_its_own_head_where_the_classes_differ() -> None:
    model = build("resnet18", num_classes=5)
    initialise(model, "he_normal", 0)
    own = {key: value.clone() for key, value in model.state_dict().items()}
    report = convert_with_report(resnet18_tensors(), model, "torchvision")
    assert str(report) == "120 of 122 tensors; head 1000 -> 5 made new"
    assert report.fresh == ("head.fc.weight", "head.fc.bias")
    model.load_state_dict(dict(report.weights))
    assert torch.equal(model.state_dict()["head.fc.weight"], own["head.fc.weight"])
    assert not torch.equal(model.state_dict()["stem.conv1.weight"], own["stem.conv1.weight"])


def test_files_without_batch_counters_are_taken() -> None:
    tensors = {key: value for key, value in resnet18_tensors().items() if not key.endswith("tracked")}
    report = convert_with_report(tensors, "resnet18", "torchvision")
    assert (report.taken, report.of) == (102, 122)
    assert report.weights["stem.bn1.num_batches_tracked"] == 0


def test_fully_connected_layers_may_be_convolutions() -> None:
    """timm keeps VGG's fc6 and fc7 as convolutions of 7x7 and 1x1."""
    model = build("vgg11", num_classes=3)
    theirs: dict[str, Tensor] = {}
    convolutions = [name for name, _ in model.stages.named_parameters() if name.endswith("weight")]
    for index, name in enumerate(convolutions):  # timm numbers features; any rising numbers will do
        for tensor in ("weight", "bias"):
            value = model.state_dict()[f"stages.{name.removesuffix('weight')}{tensor}"]
            theirs[f"features.{3 * index}.{tensor}"] = value
    state = model.state_dict()
    theirs |= {"pre_logits.fc1.weight": state["head.fc6.weight"].view(4096, 512, 7, 7)}
    theirs |= {"pre_logits.fc2.weight": state["head.fc7.weight"].view(4096, 4096, 1, 1)}
    theirs |= {f"pre_logits.fc{n - 5}.bias": state[f"head.fc{n}.bias"] for n in (6, 7)}
    theirs |= {f"head.fc.{tensor}": state[f"head.fc8.{tensor}"] for tensor in ("weight", "bias")}
    weights = convert(theirs, "vgg11", "timm")
    assert all(torch.equal(weights[key], state[key]) for key in state)


def test_a_missing_tensor_is_named() -> None:
    tensors = resnet18_tensors()
    del tensors["layer3.1.conv2.weight"]
    with pytest.raises(WeightsError, match=r"1 of our 122 tensors are missing: stages\.conv4_x\.1\.conv2\.weight"):
        convert(tensors, "resnet18", "torchvision")


def test_a_strange_tensor_is_named() -> None:
    with pytest.raises(WeightsError, match=r"1 of theirs have no place: layer1\.0\.se\.weight"):
        convert({**resnet18_tensors(), "layer1.0.se.weight": torch.zeros(3)}, "resnet18", "torchvision")


def test_another_shape_is_named_on_both_sides() -> None:
    tensors = {**resnet18_tensors(), "layer1.0.conv1.weight": torch.zeros(64, 64, 5, 5)}
    with pytest.raises(WeightsError, match=r"is float32 \(64, 64, 3, 3\) here and float32 \(64, 64, 5, 5\) there"):
        convert(tensors, "resnet18", "torchvision")


@pytest.mark.parametrize("order", [(0, 2, 3, 1), (0, 3, 1, 2)])
def test_the_same_numbers_in_another_order_are_refused(order: tuple[int, ...]) -> None:
    """A file of another framework may keep channels last: as many numbers in as many rows, and none of them right."""
    tensors = resnet18_tensors()
    tensors["conv1.weight"] = tensors["conv1.weight"].permute(order).contiguous()
    with pytest.raises(WeightsError, match=r"stem\.conv1\.weight is"):
        convert(tensors, "resnet18", "torchvision")


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64])
def test_numbers_of_another_kind_are_refused(dtype: torch.dtype) -> None:
    tensors = resnet18_tensors()
    tensors["fc.weight"] = tensors["fc.weight"].to(dtype)
    with pytest.raises(WeightsError, match=rf"and {str(dtype).removeprefix('torch.')} \(1000, 512\) there"):
        convert(tensors, "resnet18", "torchvision")


@pytest.mark.parametrize("name", ["fc.weight", "layer1.0.conv1.weight"])
def test_a_number_in_place_of_a_tensor_is_refused(name: str) -> None:
    with pytest.raises(WeightsError, match="there"):
        convert({**resnet18_tensors(), name: torch.tensor(1.0)}, "resnet18", "torchvision")


def test_names_of_any_kind_are_no_bug() -> None:
    strange = {"layer1.²0.conv1.weight": torch.zeros(1), f"layer1.{'9' * 5000}.conv1.weight": torch.zeros(1)}
    with pytest.raises(WeightsError, match="2 of theirs have no place"):
        convert({**resnet18_tensors(), **strange}, "resnet18", "torchvision")


def test_two_tensors_of_one_place_are_refused() -> None:
    tensors = {**resnet18_tensors(), "stem.conv1.weight": torch.zeros(64, 3, 7, 7)}
    with pytest.raises(WeightsError, match=r"two of their tensors have the place stem\.conv1\.weight"):
        convert(tensors, "resnet18", "torchvision")


def test_unknown_sources_and_families_without_a_map_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="unknown source 'keras'"):
        convert({}, "resnet18", "keras")
    with pytest.raises(UsageError, match="no key map of lenet"):
        convert({}, "lenet5", "timm")


def auxiliary_case(classes: int) -> tuple[Classifier, dict[str, Tensor]]:
    """A small GoogLeNet with its two auxiliary heads, and the same tensors under torchvision's names."""
    with torch.device("meta"):
        names = list(build("googlenet").state_dict())
    model = build("googlenet", num_classes=classes)
    theirs = torchvision_names(names)
    return model, {theirs[key]: value.clone() for key, value in build("googlenet", num_classes=7).state_dict().items()}


def torchvision_names(ours: list[str]) -> dict[str, str]:
    """Our name -> torchvision's, found by asking the key map what it makes of every name that torchvision has."""
    theirs = []
    branches = ["branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1"]
    units = ["conv1", "conv2", "conv3", "aux1.conv", "aux2.conv"]
    units += [
        f"inception{cell}.{branch}"
        for cell in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
        for branch in branches
    ]
    for unit in units:
        theirs += [f"{unit}.conv.weight"]
        theirs += [
            f"{unit}.bn.{tensor}" for tensor in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        ]
    theirs += [
        f"{layer}.{tensor}"
        for layer in ("fc", "aux1.fc1", "aux1.fc2", "aux2.fc1", "aux2.fc2")
        for tensor in ("weight", "bias")
    ]
    return {place: name for name, place in key_map("googlenet", "torchvision").translate(theirs, ours).items()}


def test_auxiliary_heads_of_other_classes_stay_as_they_are() -> None:
    model, theirs = auxiliary_case(classes=3)
    report = convert_with_report(theirs, model, "torchvision")
    assert set(report.fresh) == {
        f"{head}.{t}" for head in ("head.fc", "auxiliary.4a.fc2", "auxiliary.4d.fc2") for t in ("weight", "bias")
    }
    model.load_state_dict(dict(report.weights))


def test_auxiliary_heads_may_be_missing_there_or_here() -> None:
    model, theirs = auxiliary_case(classes=7)
    without = {key: value for key, value in theirs.items() if not key.startswith("aux")}
    report = convert_with_report(without, model, "torchvision")
    assert str(report).endswith("auxiliary heads made new") and all(
        key.startswith("auxiliary.") for key in report.fresh
    )
    with pytest.raises(WeightsError, match=r"auxiliary\.4a\.\S+ is .* here and missing there"):
        convert(without, "googlenet", "torchvision")
    bare = build("googlenet", num_classes=7, auxiliary="none")
    report = convert_with_report(theirs, bare, "torchvision")
    assert report.taken == report.of == len(without)
    assert all(key.startswith("aux") for key in report.unused) and len(report.unused) == len(theirs) - len(without)


@pytest.mark.parametrize(
    ("family", "theirs", "ours"),
    [
        ("convnext", "stages.1.blocks.2.mlp.fc1.weight", "stages.res3.2.branch.pwconv1.weight"),
        ("convnextv2", "stages.1.blocks.2.mlp.fc1.weight", "stages.res3.2.branch.pwconv1.weight"),
        ("convnextv2", "stages.1.blocks.2.mlp.grn.weight", "stages.res3.2.branch.grn.gamma"),
    ],
)
def test_a_map_like_another_has_the_others_rules_and_then_its_own(family: str, theirs: str, ours: str) -> None:
    assert key_map(family, "timm").translate([theirs], [ours]) == {theirs: ours}
