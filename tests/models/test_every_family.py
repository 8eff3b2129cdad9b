"""The smallest row of every family works: it learns, its gradients are right, it compiles and can be exported.

Oracles: finite differences in float64, torch's own eager mode, torch.export in a process that has no lenext.
"""

import dataclasses
import functools
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lenext.data.sources import find_source
from lenext.models.catalog import build, get_config
from lenext.models.classifier import RATES, Classifier
from lenext.models.init import HasFirstValues, initialise
from lenext.papers import FAMILIES, load_papers
from lenext.recipes import default_recipe, read_recipe
from lenext.training.config import LossConfig
from lenext.training.objective import Objective

SIZE = 16  # pixels, or the least that the row takes: half the side is a quarter of the work
CLASSES = 10


def smallest(family: str) -> str:
    """The family's row for small images that costs least."""
    rows = [row for row in load_papers().values() if row.family == family and get_config(row.name).accepts(32)]
    return min(rows, key=lambda row: row.macs).name


every_family = pytest.mark.parametrize("family", FAMILIES)


def network(family: str) -> Classifier:
    """The smallest row without drop rates, with its recipe's first weights."""
    return plain(smallest(family))


def awake(family: str) -> Classifier:
    """The same with branches that work: a layer scale of 1e-6 would hide what is wrong behind it."""
    model = network(family)
    for module in model.modules():
        if isinstance(module, HasFirstValues):
            for parameter in module.parameters(recurse=False):
                torch.nn.init.uniform_(parameter, 0.5, 1.0, torch.Generator().manual_seed(0))
    return model


def plain(name: str, **changes: Any) -> Classifier:
    """A network of ten classes of grey images, without drop rates, with its recipe's first weights."""
    config = get_config(name)
    rates = {field.name for field in dataclasses.fields(config)}.intersection(RATES)
    model = build(name, **{"num_classes": CLASSES, "in_channels": 1, **dict.fromkeys(rates, 0.0), **changes})
    _, tables = read_recipe(default_recipe(name, 32))
    initialise(model, tables["training"].get("init", "torch"), seed=0)
    return model


def digits(model: Classifier) -> tuple[Tensor, Tensor]:
    """32 handwritten digits, float32 (32, 1, size, size) as small as the network takes them, and their classes."""
    return _digits(max(SIZE, model.config.min_size))


@functools.cache
def _digits(size: int) -> tuple[Tensor, Tensor]:
    store = find_source("digits").open("train")
    images = torch.stack(list(store.read(np.arange(32)))).float() / 255
    images = torch.nn.functional.interpolate(images, (size, size), mode="bilinear")
    return (images - images.mean()) / images.std(), torch.as_tensor(store.labels[:32])


@every_family
def test_every_tensor_changes_within_three_steps(family: str) -> None:
    model = awake(family)
    images, classes = digits(model)
    images, classes = images[:8].double(), classes[:8]  # in single precision a step may be lost in rounding
    objective = Objective(model.double(), LossConfig()).train()
    before = {name: value.clone() for name, value in objective.classifier.state_dict().items()}
    optimizer = torch.optim.SGD(objective.parameters(), 0.01, momentum=0.9)
    fixed = set(before)
    for _ in range(3):
        optimizer.zero_grad()
        objective(images, classes).loss.backward()
        optimizer.step()
        state = objective.classifier.state_dict()
        fixed = {name for name in fixed if torch.equal(before[name], state[name])}
        if fixed <= {"head.output.codes"}:  # the published constants of LeNet-5
            return
    pytest.fail(f"{smallest(family)}: three steps changed nothing of {sorted(fixed)}")


def loss_of_all_heads(model: Classifier, images: Tensor, classes: Tensor) -> Tensor:
    """In the network's own precision, which the objective brings to float32."""
    return loss_behind(model, model.places(), images, classes)


def loss_behind(model: Classifier, places: Iterable[str], x: Any, classes: Tensor) -> Tensor:
    """The same of the heads that stand behind the last places of the chain, run as `forward` does, from their input."""
    scores = []
    for place in places:
        x = model.get_submodule(place)(x)
        name = place.removeprefix("stages.")
        if name in model.auxiliary:
            scores.append(model.auxiliary[name](x))
    return torch.stack([torch.nn.functional.cross_entropy(each, classes) for each in (*scores, x)]).sum()


def inputs_of_places(model: Classifier, images: Tensor) -> dict[str, Any]:
    """What each place of the chain is given: a change behind it leaves that as it is."""
    found: dict[str, Any] = {}
    with torch.no_grad():
        for place in model.places():
            found[place], images = images, model.get_submodule(place)(images)
    return found


@every_family
def test_gradients_agree_with_finite_differences(family: str) -> None:
    model = awake(family).double().train()
    images, classes = digits(model)
    assert_gradients(model, images[:4].double(), classes[:4])


def test_gradients_of_auxiliary_heads_agree_with_finite_differences() -> None:
    model = plain("googlenet_small", auxiliary="adaptive").double().train()
    images, classes = digits(model)
    assert len(model.auxiliary) == 2
    assert_gradients(model, images[:4].double(), classes[:4], within="auxiliary.")


def assert_gradients(model: Classifier, images: Tensor, classes: Tensor, within: str = "") -> None:
    """The largest entry of twelve parameters beside central differences, of which one crosses no kink of a ReLU."""
    loss_of_all_heads(model, images, classes).backward()
    inputs, chain = inputs_of_places(model, images), model.places()
    parameters = [(name, value) for name, value in model.named_parameters() if name.startswith(within)]
    for place in torch.randperm(len(parameters), generator=torch.Generator().manual_seed(0))[:12]:
        name, parameter = parameters[place]
        assert parameter.grad is not None, name
        first = next((i for i, one in enumerate(chain) if name.startswith(f"{one}.")), 0)  # 0: auxiliary heads
        entry = int(parameter.grad.abs().argmax())
        flat, found = parameter.data.view(-1), float(parameter.grad.view(-1)[entry])
        differences = []
        for step in (1e-6, 1e-7, 1e-5, 1e-8):
            start, losses = float(flat[entry]), []
            for value in (start + step, start - step):
                flat[entry] = value
                with torch.no_grad():
                    losses.append(float(loss_behind(model, chain[first:], inputs[chain[first]], classes)))
            flat[entry] = start
            differences.append((losses[0] - losses[1]) / (2 * step))
            if found == pytest.approx(differences[-1], rel=1e-4, abs=1e-9):
                break
        else:
            pytest.fail(f"{name}: {found}, and {differences} by differences")


@every_family
def test_memorises_32_digits(family: str) -> None:
    model = network(family)
    images, classes = digits(model)
    objective = Objective(model, LossConfig()).train()
    optimizer = torch.optim.AdamW(objective.parameters(), 2e-3, weight_decay=0.0)
    for _ in range(150):
        optimizer.zero_grad()
        outcome = objective(images, classes)
        if bool((outcome.scores.argmax(1) == classes).all()):
            return
        outcome.loss.backward()
        optimizer.step()
    pytest.fail(f"{smallest(family)} knows {objective.hits(outcome.scores, classes)} of 32 after 150 steps")


# Of the kinds of layers that differ most; the others in `make slow`, where inductor compiles all.
FEW = ("lenet", "alexnet", "resnet", "densenet", "mobilenetv3", "convnextv2")
EXPORTED = ("lenet", "alexnet", "resnet", "convnextv2")  # the others of them take half of the time


@pytest.mark.parametrize("family", [pytest.param(f, marks=[] if f in FEW else pytest.mark.slow) for f in FAMILIES])
def test_compiles_as_one_graph(family: str) -> None:
    model = awake(family).eval()
    images, _ = digits(model)
    compiled = torch.compile(model, fullgraph=True, backend="eager")  # what is behind the graph, inductor's test sees
    with torch.no_grad():
        assert torch.allclose(compiled(images[:2]), model(images[:2]), rtol=1e-5, atol=1e-5)
    torch.compiler.reset()


@pytest.mark.slow
@every_family
def test_compiles_with_inductor(family: str) -> None:
    model = awake(family).eval()
    images, _ = digits(model)
    compiled = torch.compile(model, fullgraph=True)
    with torch.no_grad():
        assert torch.allclose(compiled(images[:2]), model(images[:2]), rtol=1e-3, atol=1e-3)
    torch.compiler.reset()


@every_family
def test_channels_last_gives_the_same_scores(family: str) -> None:
    model = awake(family).double().eval()
    images, _ = digits(model)
    expected = model(images[:2].double())
    other = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = other(images[:2].double().to(memory_format=torch.channels_last))
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)


@every_family
def test_the_same_seed_gives_the_same_weights(family: str) -> None:
    torch.manual_seed(1)
    first = network(family).state_dict()
    torch.manual_seed(2)
    again = network(family).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


RELOAD = """
import pathlib, sys
sys.modules["lenext"] = None  # any import of it fails
import torch
folder = pathlib.Path(sys.argv[1])
scores = {}
with torch.no_grad():
    for path in sorted(folder.glob("*.pt2")):
        scores[path.stem] = torch.export.load(path).module()(torch.load(path.with_suffix(".images")))
torch.save(scores, folder / "scores.pt")
"""


def test_exported_programs_run_without_lenext(tmp_path: Path) -> None:
    export_and_reload(EXPORTED, tmp_path)


@pytest.mark.slow
def test_exported_programs_of_all_other_families_run_without_lenext(tmp_path: Path) -> None:
    export_and_reload([family for family in FAMILIES if family not in EXPORTED], tmp_path)


def export_and_reload(families: Iterable[str], tmp_path: Path) -> None:
    expected = {}
    for family in families:
        model = awake(family).double().eval()  # in single precision the two processes round differently
        images = digits(model)[0][:2].double()
        with torch.no_grad():
            expected[family] = model(images)
        torch.save(images, tmp_path / f"{family}.images")
        torch.export.save(torch.export.export(model, (images,)), tmp_path / f"{family}.pt2")
    subprocess.run([sys.executable, "-c", RELOAD, str(tmp_path)], check=True)
    scores = torch.load(tmp_path / "scores.pt")
    for family in expected:
        assert torch.allclose(scores[family], expected[family], rtol=1e-9, atol=1e-12), family
