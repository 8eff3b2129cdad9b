"""TOML to dataclasses and back. Oracles: tomllib, values by hand, and the sentence that a person would need."""

import itertools
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from lenext.config import (
    differing_keys,
    digest,
    from_mapping,
    nearest,
    override,
    read_toml,
    to_mapping,
    to_toml,
)
from lenext.data.config import AugmentConfig, DataConfig
from lenext.errors import UsageError
from lenext.experiment.config import Experiment
from lenext.training.config import LossConfig, OptimizerConfig, ScheduleConfig, TrainingConfig


@dataclass(frozen=True, kw_only=True)
class Inner:
    width: int = 3
    kind: Literal["sgd", "adamw"] = "sgd"


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    rate: float = 0.1
    flag: bool = False
    limit: int | None = None
    size: tuple[int, int] = (1, 2)
    many: tuple[float, ...] = ()
    pair: tuple[str, int] = ("a", 1)
    inner: Inner = field(default_factory=Inner)
    inners: tuple[Inner, ...] = ()


def outer(**values: Any) -> Outer:
    return from_mapping(Outer, {"name": "n", **values})


def test_every_kind_of_value_is_taken_and_missing_keys_have_their_defaults() -> None:
    table = {
        "name": "x",
        "rate": 0.5,
        "flag": True,
        "limit": 4,
        "size": [3, 4],
        "many": [1.5, 2],
        "pair": ["b", 2],
        "inner": {"width": 5, "kind": "adamw"},
        "inners": [{}, {"width": 1}],
    }
    assert from_mapping(Outer, table) == Outer(
        name="x",
        rate=0.5,
        flag=True,
        limit=4,
        size=(3, 4),
        many=(1.5, 2.0),
        pair=("b", 2),
        inner=Inner(width=5, kind="adamw"),
        inners=(Inner(), Inner(width=1)),
    )
    assert outer() == Outer(name="n")


@pytest.mark.parametrize(
    ("mapping", "what", "advice"),
    [
        ({"name": "n", "rat": 1.0}, "unknown key 'rat'", "did you mean 'rate'?"),
        ({"name": "n", "inner": {"widht": 1}}, "unknown key 'inner.widht'", "did you mean 'width'?"),
        ({"name": "n", "inner": {"zzz": 1}}, "unknown key 'inner.zzz'", "one of: kind, width"),
        ({"name": "n", "inners": [{}, {"widht": 1}]}, "unknown key 'inners[1].widht'", "did you mean 'width'?"),
    ],
)
def test_unknown_key_is_named_in_full_with_the_nearest(mapping: Mapping[str, Any], what: str, advice: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_mapping(Outer, mapping)
    assert (caught.value.what, caught.value.advice) == (what, advice)


@pytest.mark.parametrize(
    ("values", "what", "why"),
    [
        ({"rate": "fast"}, "rate = 'fast'", "it takes float, and this is str"),
        ({"rate": True}, "rate = True", "it takes float, and this is bool"),
        ({"flag": 1}, "flag = 1", "it takes bool, and this is int"),
        ({"name": 1}, "name = 1", "it takes str, and this is int"),
        ({"limit": 1.0}, "limit = 1.0", "it takes int, and this is float"),
        ({"inner": 3}, "inner = 3", "it takes Inner, and this is int"),
        ({"inner": {"width": True}}, "inner.width = True", "it takes int, and this is bool"),
        ({"inner": {"width": 1.0}}, "inner.width = 1.0", "it takes int, and this is float"),
        ({"inner": {"kind": "adam"}}, "inner.kind = 'adam'", "not one of its values"),
        ({"size": 3}, "size = 3", "it takes tuple[int, int], and this is int"),
        ({"size": [1, "2"]}, "size[1] = '2'", "it takes int, and this is str"),
        ({"size": [1]}, "size = [1]", "it takes 2 values, and this has 1"),
        ({"size": [1, 2, 3]}, "size = [1, 2, 3]", "it takes 2 values, and this has 3"),
        ({"pair": ["a", "b"]}, "pair[1] = 'b'", "it takes int, and this is str"),
        ({"many": [1, None]}, "many[1] = None", "it takes float, and this is NoneType"),
        ({"rate": None}, "rate = None", "it takes float, and this is NoneType"),
    ],
)
def test_wrong_type_names_the_dotted_key_and_what_it_takes(values: dict[str, Any], what: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        outer(**values)
    assert (caught.value.what, caught.value.why) == (what, why)


def test_wrong_literal_is_hinted() -> None:
    with pytest.raises(UsageError) as caught:
        outer(inner={"kind": "adam"})
    assert caught.value.advice == "did you mean 'adamw'?"


def test_whole_number_passes_as_float_and_becomes_one() -> None:
    value = outer(rate=2).rate
    assert value == 2.0
    assert type(value) is float


def test_optional_field_takes_none() -> None:
    assert outer(limit=None).limit is None


def test_missing_key_without_default_is_named() -> None:
    with pytest.raises(UsageError, match=r"missing 1 required keyword-only argument: 'name'"):
        from_mapping(Outer, {})


def test_value_that_the_dataclass_refuses_is_a_usage_error_naming_the_table() -> None:
    with pytest.raises(UsageError) as caught:
        from_mapping(Experiment, {"training": {"schedule": {"warmup": 1.0}}})
    assert caught.value.what == "cannot use the table 'training.schedule'"
    assert "0 <= warmup < 1" in caught.value.why


@pytest.mark.parametrize(
    "setting",
    [
        "epochs=0",
        "batch_size=0",
        "threads=-1",
        "clip=-1.0",
        "clip=nan",
        "save_seconds=-1.0",
        "optimizer.rate=-0.1",
        "optimizer.rate=inf",
        "optimizer.rate=nan",
        "optimizer.momentum=-0.1",
        "optimizer.momentum=1.0",
        "optimizer.decay=-1e-4",
        "optimizer.betas=[0.9]",
        "optimizer.betas=[0.9, 1.0]",
        "optimizer.betas=[-0.1, 0.9]",
        "optimizer.eps=-1e-8",
        "schedule.warmup=-0.1",
        "schedule.milestones=[0.5, 1.5]",
        "schedule.factors=[0.1, 0.1]",
        "schedule.factor=-0.5",
        "schedule.patience=-1",
        "schedule.threshold=1.5",
        "schedule.start=-0.1",
        "schedule.end=-0.1",
        "loss.label_smoothing=-0.1",
        "loss.label_smoothing=1.5",
    ],
)
def test_training_values_out_of_their_range_are_refused_before_torch_meets_them(setting: str) -> None:
    with pytest.raises(UsageError):
        from_mapping(TrainingConfig, override({}, [setting]))


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(UsageError, match="nesterov needs a momentum above 0"):
        from_mapping(OptimizerConfig, {"nesterov": True, "momentum": 0})


# --- override -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("3.0", 3.0),
        ("5e-4", 5e-4),
        ("true", True),
        ("[0.5, 0.75]", [0.5, 0.75]),
        ('"a b"', "a b"),
        ("adamw", "adamw"),
        ("/data/set one", "/data/set one"),
        ("", ""),
        (" 7 ", 7),
    ],
)
def test_setting_is_toml_and_anything_else_is_a_word(text: str, value: object) -> None:
    result = override({}, [f"a.b.c={text}"])
    assert result == {"a": {"b": {"c": value}}}
    assert type(result["a"]["b"]["c"]) is type(value)


def test_settings_apply_in_order_and_leave_the_mapping_alone() -> None:
    before = {"training": {"epochs": 1, "optimizer": {"rate": 0.1}}}
    after = override(before, ["training.epochs=2", "training.optimizer.rate=1", "training.epochs=3"])
    assert after == {"training": {"epochs": 3, "optimizer": {"rate": 1}}}
    assert before == {"training": {"epochs": 1, "optimizer": {"rate": 0.1}}}


@pytest.mark.parametrize("setting", ["training.epochs", "=3", ""])
def test_setting_without_key_or_equals_sign_is_refused(setting: str) -> None:
    with pytest.raises(UsageError, match="cannot set"):
        override({}, [setting])


def test_setting_below_a_value_is_refused() -> None:
    with pytest.raises(UsageError, match="'epochs' is a value"):
        override({"training": {"epochs": 1}}, ["training.epochs.more=2"])


@pytest.mark.parametrize(
    ("setting", "what", "advice"),
    [
        ("trainin.epochs=3", "unknown key 'trainin'", "did you mean 'training'?"),
        ("training.optimiser.rate=3", "unknown key 'training.optimiser'", "did you mean 'optimizer'?"),
        ("training.optimizer.lr=3", "unknown key 'training.optimizer.lr'", "one of: "),
    ],
)
def test_setting_of_an_unknown_table_fails_when_the_experiment_is_built(setting: str, what: str, advice: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_mapping(Experiment, override(to_mapping(EXPERIMENT), [setting]))
    assert caught.value.what == what
    assert caught.value.advice.startswith(advice)


def test_dates_of_a_toml_file_survive_a_setting_until_their_key_is_judged() -> None:
    mapping = tomllib.loads("[training]\nsince = 2026-12-01\n")
    with pytest.raises(UsageError, match=r"unknown key 'training\.since'"):
        from_mapping(Experiment, override(mapping, ["training.epochs=2"]))


# --- files ----------------------------------------------------------------------------------------------------------

EXPERIMENT = Experiment(
    model="resnet20",
    size=28,
    recipe='my "own"\\recipe\n.toml',
    seed=2**53 + 1,
    data=DataConfig(name="digits", root="/data/ä ö/日本 'x'", validation=0, split_seed=3),
    training=TrainingConfig(
        epochs=7,
        clip=0.1 + 0.2,
        save_seconds=1e-300,
        optimizer=OptimizerConfig(name="adamw", rate=5e-4, decay=1 / 3, betas=(0.9, 0.999), decay_on="weights"),
        schedule=ScheduleConfig(name="step", milestones=(1 / 3, 2 / 3), factors=(0.1, 0.7)),
        loss=LossConfig(name="lenet_map", rubbish=2.0),
    ),
    augment=AugmentConfig(pad=4, flip=True),
)


def test_resolved_experiment_survives_its_file_exactly(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(to_toml(to_mapping(EXPERIMENT)), encoding="utf-8")
    assert read_toml(path) == to_mapping(EXPERIMENT)
    assert from_mapping(Experiment, read_toml(path)) == EXPERIMENT
    assert digest(read_toml(path)) == digest(to_mapping(EXPERIMENT))


def test_fields_that_are_none_are_left_out_of_the_mapping() -> None:
    assert "limit" not in to_mapping(Outer(name="n"))
    assert to_mapping(Outer(name="n", limit=2))["limit"] == 2


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "there is no such file"),
        (b"a = 1\nb =\n", "line 2"),
        (b'a = "\xff"\n', "not TOML: 'utf-8' codec"),
    ],
)
def test_unreadable_file_is_a_usage_error_that_names_it(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "config.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_toml(path)
    assert str(path) in caught.value.what
    assert why in caught.value.why


def test_folder_in_the_place_of_a_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Is a directory"):
        read_toml(tmp_path)


# --- digest and differences -----------------------------------------------------------------------------------------


def test_digest_is_of_the_content_whatever_the_order_of_keys() -> None:
    pairs = [("a", 1), ("b", {"x": [1, 2], "y": 0.5}), ("c", "ä")]
    digests = {digest(dict(order)) for order in itertools.permutations(pairs)}
    digests.add(digest(json.loads('{"c": "\\u00e4", "b": {"y": 0.5, "x": [1, 2]}, "a": 1}')))
    assert len(digests) == 1


@pytest.mark.parametrize("other", [{"a": 2}, {"a": 1, "b": 1}, {"b": 1}, {"a": "1"}, {"a": [1]}, {}])
def test_digest_of_other_content_differs(other: dict[str, object]) -> None:
    assert digest(other) != digest({"a": 1})


@pytest.mark.parametrize(
    ("one", "other", "keys"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 1.0}, []),
        ({"b": 1, "a": 1}, {"a": 2, "b": 2}, ["a", "b"]),
        ({"t": {"o": {"rate": 1, "name": "x"}}}, {"t": {"o": {"rate": 2, "name": "x"}}}, ["t.o.rate"]),
        ({"t": {"a": 1}}, {"t": 3}, ["t"]),
        ({"t": {"a": 1}}, {}, ["t"]),
        ({}, {"new": 0}, ["new"]),
        ({"list": [1, 2]}, {"list": [2, 1]}, ["list"]),
    ],
)
def test_differing_keys_are_dotted_and_sorted(one: dict[str, Any], other: dict[str, Any], keys: list[str]) -> None:
    assert differing_keys(one, other) == keys
    assert differing_keys(other, one) == keys


def test_hint_is_the_nearest_name_or_the_first_dozen() -> None:
    assert nearest("resnet_18", ["vgg11", "resnet18"]) == "did you mean 'resnet18'?"
    names = [f"n{i:02d}" for i in range(20)]
    assert nearest("quite different", names) == "one of: " + ", ".join(names[:12])
