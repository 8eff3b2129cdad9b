"""FCMAE. Oracles: what is hidden cannot matter; what a rectangle shows is what the network makes of it cut out; sums by
hand; a run as a whole.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import lenext
from lenext import checkpoint as checkpoints
from lenext.cli import main
from lenext.data.config import DataConfig
from lenext.data.sources import find_source
from lenext.errors import UsageError
from lenext.experiment.config import Experiment, compose
from lenext.experiment.opening import prepare
from lenext.experiment.resuming import resume
from lenext.experiment.session import Session
from lenext.models.catalog import build
from lenext.models.convnextv2 import ConvNeXtV2
from lenext.training.config import LossConfig
from lenext.training.loop import Step
from lenext.training.masked import MaskedDecoder, encode_visible, masked_loss, patch_side, visible_patches
from lenext.training.objective import Objective

from ..experiment.pieces import SMALL, begin, bits, finish, metrics, result

FCMAE = ["training.loss.name=fcmae", "training.loss.decoder=16", "training.init=convnext"]
TINY = ["network.width=8", "network.repeats=[1, 1]", "network.patch=4"]  # patches of 8 pixels
FIRST = ["training.epochs=2", "training.optimizer.name=adamw", "training.optimizer.rate=0.001"]


def network(**changes: object) -> ConvNeXtV2:
    """Patches of 8 pixels, every parameter drawn: a response normalisation that begins as the identity hides faults."""
    told = {"width": 8, "repeats": (2, 1), "patch": 4, "drop_path": 0.5, "input_size": 32, "min_size": 8, **changes}
    found = build("convnextv2_atto_small", **told).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 4)
    assert isinstance(found, ConvNeXtV2)
    return found.train()


def images(count: int = 3, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_patch_is_what_one_place_of_the_last_map_stands_for() -> None:
    sides = [patch_side(build(name, **told)) for name, told in PATCHES]  # type: ignore[arg-type]
    assert sides == [32, 16, 8, 8]


PATCHES: list[tuple[str, dict[str, object]]] = [
    ("convnextv2_atto", {}),  # section 3.1: 32 x 32
    ("convnextv2_atto_small", {}),
    ("convnextv2_atto_small", {"patch": 1}),
    ("convnextv2_atto_small", {"patch": 4, "repeats": (2, 1)}),
]


def test_every_image_shows_as_many_patches_and_not_the_same() -> None:
    torch.manual_seed(0)
    shown = visible_patches(torch.zeros(50, 3, 224, 224), 32, 0.6)
    assert shown.shape == (50, 1, 7, 7)
    assert shown.unique().tolist() == [0.0, 1.0]
    assert shown.sum((1, 2, 3)).unique().tolist() == [19.0]  # of 49: int(19.6), as in the release
    assert len({tuple(one.flatten().tolist()) for one in shown}) == 50
    assert shown.mean(0).sub(19 / 49).abs().max() < 0.25  # every place has its turn


def test_where_all_is_visible_the_map_is_the_networks() -> None:
    model, batch = network().eval(), images()
    torch.testing.assert_close(
        encode_visible(model, batch, torch.ones(3, 1, 4, 4, dtype=torch.float64)),
        model.features(batch)["stages.res3"],
        atol=0,
        rtol=0,
    )


def test_hidden_pixels_change_nothing_to_the_bit() -> None:
    model, batch = network(), images()
    torch.manual_seed(0)
    visible = visible_patches(batch, 8, 0.6)
    hidden = visible.repeat_interleave(8, 2).repeat_interleave(8, 3) == 0
    other = torch.where(hidden, 100 * torch.randn_like(batch), batch)
    assert not torch.equal(other, batch)
    found = encode_visible(model, batch, visible)
    assert torch.equal(found, encode_visible(model, other, visible))
    assert found[(visible == 0).expand_as(found)].count_nonzero() == 0
    assert found[(visible == 1).expand_as(found)].count_nonzero() > 0


def test_visible_rectangle_is_computed_as_if_cut_out() -> None:
    """A sparse convolution knows no hidden neighbours, as a border has none: zero padding, at every depth."""
    model, batch = network().eval(), images()
    visible = torch.zeros(3, 1, 4, 4, dtype=torch.float64)
    visible[:, :, 1:3, :3] = 1
    cut = model.features(batch[:, :, 8:24, :24])["stages.res3"]
    torch.testing.assert_close(encode_visible(model, batch, visible)[:, :, 1:3, :3], cut, atol=1e-12, rtol=1e-12)


def test_loss_is_that_of_the_hidden_patches_by_hand() -> None:
    model, batch = network(), images(2, 16)
    decoder = MaskedDecoder(model, 12).double()
    torch.manual_seed(3)
    found = masked_loss(model, decoder, batch, 0.5).detach()
    torch.manual_seed(3)
    visible = visible_patches(batch, 8, 0.5)
    painted = decoder(encode_visible(model, batch, visible), visible).float().detach().numpy()
    errors = []
    for n, row, column in np.argwhere(visible[:, 0].numpy() == 0):
        patch = batch[n, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].float().numpy().reshape(-1)
        target = (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + 1e-6)
        errors.append(((painted[n, :, row, column] - target) ** 2).mean())
    assert len(errors) == 4
    assert float(found) == pytest.approx(float(np.mean(errors)), rel=1e-5)


def test_every_parameter_but_the_head_learns() -> None:
    model = network().float()
    objective = Objective(model, LossConfig(name="fcmae", decoder=12)).train()
    torch.manual_seed(0)
    outcome = objective(images().float(), torch.zeros(3, dtype=torch.long))
    outcome.loss.backward()
    learns = {name for name, p in objective.trained().named_parameters() if p.grad is not None and p.grad.any()}
    assert {name for name, _ in objective.trained().named_parameters()} - learns == {
        name for name, _ in model.named_parameters() if name.startswith("head.")
    }
    assert "decoder.token.vector" in learns
    assert (outcome.scores, objective.hits(None, torch.zeros(3))) == (None, 0)


def test_objective_is_one_graph_and_takes_bf16() -> None:
    objective = Objective(network().float(), LossConfig(name="fcmae", decoder=12)).train()
    torch._dynamo.reset()
    compiled = torch.compile(objective, fullgraph=True, backend="aot_eager")
    losses = []
    for run, precision in ((objective, torch.float32), (compiled, torch.float32), (objective, torch.bfloat16)):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            losses.append(float(run(images().float(), torch.zeros(3, dtype=torch.long)).loss.detach()))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[2] == pytest.approx(losses[0], rel=0.05)


@pytest.mark.parametrize(("side", "hidden"), [(36, 0.6), (8, 0.6), (16, 0.9)])
def test_images_without_a_patch_to_see_are_refused(side: int, hidden: float) -> None:
    with pytest.raises(UsageError, match="cannot hide") as caught:
        visible_patches(torch.zeros(1, 3, side, side), 8, hidden)
    assert "8 x 8" in caught.value.why


def test_only_convnexts_are_masked() -> None:
    first = build("convnext_atto_small", width=8, repeats=(1, 1))
    loss = Objective(first, LossConfig(name="fcmae", decoder=8))(images().float(), torch.zeros(3)).loss
    assert loss.isfinite()
    with pytest.raises(UsageError, match="fcmae"):
        Objective(build("resnet20"), LossConfig(name="fcmae"))


@pytest.mark.parametrize("setting", [{"hidden": 1.0}, {"hidden": 0.0}, {"decoder": 0}, {"class_weights": "balanced"}])
def test_settings_that_mean_nothing_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        LossConfig(name="fcmae", **setting)  # type: ignore[arg-type]


# --- a run ----------------------------------------------------------------------------------------------------------


def begin_tiny(run: Path, *settings: str, size: int = 32) -> Session:
    parts = ["data.limit=0", "data.validation=1100"]
    return begin(run, *parts, *FCMAE, *TINY, *FIRST, *settings, model="convnextv2_atto_small", size=size)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the digits, without their labels; read only."""
    run = tmp_path_factory.mktemp("masked") / "run"
    return finish(begin_tiny(run))


def test_run_tells_a_loss_that_falls_and_nothing_of_classes(pretrained: Path) -> None:
    lines = metrics(pretrained)
    assert lines[1]["train_loss"] < lines[0]["train_loss"]
    assert not {"train_accuracy", "validation_score", "validation_loss"} & set(lines[0])
    loaded = checkpoints.load(pretrained / "last")
    assert loaded.card.classes == ()
    assert not any("decoder" in name for name in loaded.weights)
    assert {name for name in loaded.optimizer if name.startswith("decoder/")} >= {"decoder/pred.weight"}
    page = lenext.write_report(pretrained).read_text(encoding="utf-8")
    assert "without labels" in page
    assert f"lenext train DATA --weights {pretrained}" in page
    assert "lenext eval" not in page


def test_interrupted_run_with_an_average_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = finish(begin_tiny(tmp_path / "whole", "training.average=0.9"))
    session = begin_tiny(tmp_path / "run", "training.average=0.9")
    for record in session.records():
        if isinstance(record, Step) and record.step == 3:
            break
    assert result(finish(resume(session.run))) == result(whole)


GROWING = ["training.progression.size=[0.5,0.75]", "training.progression.stages=3", "training.epochs=3"]


@pytest.mark.parametrize(
    ("size", "settings"), [(28, []), (32, ["training.freeze=['stem','stages','head']"]), (32, GROWING)]
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    size: int, settings: list[str], tmp_path: Path
) -> None:
    """28 pixels are no whole number of patches of 8, and neither are the 20 of the second epoch."""
    with pytest.raises(UsageError, match="cannot"):
        begin_tiny(tmp_path / "run", *settings, size=size)
    assert list(tmp_path.iterdir()) == []


def test_command_line_reports_it_and_does_not_compare_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ["--model", "convnextv2_atto_small", "--size", "32", "--epochs", "1", "--recipe", "fcmae"]
    for setting in (*SMALL, *FCMAE, *TINY, "training.accumulate=1"):
        told += ["--set", setting]

    def exit_code(*words: str) -> object:
        with pytest.raises(SystemExit) as caught:
            main(list(words))
        return caught.value.code

    assert exit_code("train", "digits", *told, "--run", str(tmp_path / "run"), "--report") == 0
    printed = capsys.readouterr()
    assert str(tmp_path / "run" / "report.html") in printed.out
    assert "no labels are used" in printed.err
    assert (
        exit_code("sweep", "digits", *told, "--vary", "training.loss.hidden=0.5,0.6", "--run", str(tmp_path / "s")) == 2
    )
    assert "it learns none" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_classes_are_not_asked_of_it(pretrained: Path) -> None:
    with pytest.raises(UsageError, match="cannot classify") as caught:
        lenext.evaluate(pretrained)
    assert f"--weights {pretrained}" in caught.value.advice
    with pytest.raises(UsageError, match="cannot classify"):
        lenext.predict(pretrained, [])


def compose_from(run: Path) -> Experiment:
    """What fine-tuning begins with, as composed."""
    told = DataConfig(name="digits", validation=1100)
    return compose(told, find_source("digits"), "", weights=str(run), settings=["training.threads=1"])[0]


def test_what_it_learnt_is_begun_from_and_the_head_is_new(pretrained: Path, tmp_path: Path) -> None:
    told = ["training.epochs=1", "training.batch_size=48", "data.validation=1100", "training.threads=1"]
    run = lenext.train("digits", "", tmp_path / "run", weights=str(pretrained), settings=told)
    assert checkpoints.load(run / "last").card.classes == tuple("0123456789")
    beginning = prepare(compose_from(pretrained), find_source("digits"))
    assert any("head 0 -> 10 made new" in one for one in beginning.said)
    before, now = (bits(one) for one in (lenext.load(pretrained).state_dict(), beginning.state.network.state_dict()))
    assert {name for name in before if before[name] != now[name]} == {"head.fc.weight", "head.fc.bias"}
    assert lenext.evaluate(run).n == 360
