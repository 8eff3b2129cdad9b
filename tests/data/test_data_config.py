"""The configuration of this room: plain, strict, and free of torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from lenext.config import from_mapping, read_toml, to_mapping, to_toml
from lenext.data.config import AugmentConfig, DataConfig
from lenext.errors import UsageError


def test_configs_survive_a_toml_file(tmp_path: Path) -> None:
    data = DataConfig(name="mnist", root="sets", validation=100, split_seed=3)
    augment = AugmentConfig(pad=4, flip=True)
    (tmp_path / "config.toml").write_text(to_toml({"data": to_mapping(data), "augment": to_mapping(augment)}))
    tables = read_toml(tmp_path / "config.toml")
    assert from_mapping(DataConfig, tables["data"]) == data
    assert from_mapping(AugmentConfig, tables["augment"]) == augment


def test_nothing_is_augmented_unless_asked() -> None:
    assert AugmentConfig() == AugmentConfig(pad=0, flip=False)


@pytest.mark.parametrize("key", ["validation", "limit"])
def test_negative_numbers_are_refused_by_their_key(key: str) -> None:
    with pytest.raises(UsageError, match=rf"data\.{key} = -1"):
        from_mapping(DataConfig, {"name": "digits", key: -1})


def test_negative_padding_is_refused() -> None:
    with pytest.raises(UsageError, match=r"augment\.pad = -2"):
        AugmentConfig(pad=-2)


def test_configuration_is_imported_without_torch() -> None:
    program = "import sys, lenext.data.config; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
