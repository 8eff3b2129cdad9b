"""Names and changes. Oracles: the rows of the families' own tables, and the messages a person would need."""

import pytest

from lenext.errors import UsageError
from lenext.models.catalog import (
    ALIASES,
    FAMILIES,
    VARIANTS,
    build,
    canonical_name,
    family_of,
    fits,
    get_config,
    list_models,
    small_row,
)
from lenext.models.classifier import NetworkConfig


def test_no_two_families_share_a_name() -> None:
    names = [name for family in FAMILIES.values() for name in [*family.variants, *family.aliases]]
    assert len(names) == len(set(names)) == len(VARIANTS) + len(ALIASES)


def test_every_alias_leads_to_a_row() -> None:
    assert set(ALIASES.values()) <= set(VARIANTS)
    assert canonical_name("vgg_d") == "vgg16"
    assert get_config("vgg_d") == get_config("vgg16")


def test_unknown_network_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'resnet18'\?"):
        build("resnet_18")


def test_unknown_field_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'num_classes'\?"):
        build("resnet20", classes=5, num_class=5)


def test_wrong_type_names_the_field() -> None:
    with pytest.raises(UsageError, match="num_classes = '5'"):
        build("resnet20", num_classes="5")


@pytest.mark.parametrize("change", [{"num_classes": 0}, {"in_channels": 0}, {"input_size": 31}])
def test_impossible_values_are_refused_when_building(change: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(change.values()))}"):
        build("lenet5", **change)


@pytest.mark.parametrize(("name", "field"), [("vgg16", "dropout"), ("convnext_tiny", "drop_path")])
@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_rates_are_probabilities_below_one(name: str, field: str, rate: float) -> None:
    with pytest.raises(UsageError, match=field):
        get_config(name, **{field: rate})


def test_changes_leave_the_table_alone() -> None:
    changed = get_config("resnet18", num_classes=5)
    assert changed.num_classes == 5
    assert get_config("resnet18").num_classes == 1000


def test_patterns_keep_the_order_of_the_table() -> None:
    assert list_models("plain*") == ["plain18", "plain34", "plain20", "plain32", "plain44", "plain56"]
    assert list_models("resnet??_a") == ["resnet18_a", "resnet34_a"]
    assert list_models("nothing*") == []


def test_sizes_that_fit() -> None:
    assert fits("lenet5", 32) and not fits("lenet5", 31) and not fits("lenet5", 33)
    assert fits("resnet20", 28) and fits("resnet20", 500)
    assert not fits("resnet18", 32) and fits("resnet18", 64)


def test_sizes_in_words() -> None:
    assert get_config("lenet5").sizes() == "32 x 32 pixels exactly"
    assert get_config("resnet20").sizes() == "8 x 8 pixels and larger"
    assert NetworkConfig(min_size=32, max_size=224).sizes() == "32 to 224 pixels a side"


def test_small_rows_are_the_same_family_for_small_images() -> None:
    assert small_row("resnet18") == "resnet18_small"
    assert small_row("vgg_d") == small_row("vgg16_bn") == "vgg16_small"
    assert small_row("resnet50_v1") == "resnet50_small"
    assert small_row("inception_v3_noaux") == "inception_v3_small"
    assert small_row("convnext_tiny") == "convnext_tiny_small"
    assert small_row("convnext_base") is None  # convnext_small is a size of its own, for 224 pixels
    assert small_row("lenet5") is None
    for name in VARIANTS:
        if (small := small_row(name)) is not None:
            assert fits(small, 28)
            assert family_of(small) == family_of(name)
