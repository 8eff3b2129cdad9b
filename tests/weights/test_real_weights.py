"""EfficientNet-Lite with its released weights names real photographs. Oracle: the classes that the release gives."""

from pathlib import Path

import pytest

from lenext.experiment.answers import predict
from lenext.weights.importing import import_weights

from ..real_data import lite_weights, photograph

# ImageNet's classes: 281 tabby, 282 tiger cat, 285 Egyptian cat, 287 lynx; 960 chocolate sauce, 967 espresso, 968 cup.
TOP5 = {
    (0, "chelsea.png"): [282, 285, 281, 287, 904],
    (1, "chelsea.png"): [285, 282, 281, 287, 942],
    (2, "chelsea.png"): [285, 282, 281, 287, 622],
    (0, "coffee.png"): [967, 968, 925, 960, 504],
}


def top5(number: int, photo: str, folder: Path) -> list[int]:
    import_weights(lite_weights(number), f"tf_efficientnet_lite{number}", folder / "net")
    answer = predict(folder / "net", [photograph(photo)])[0]
    return [entry["index"] for entry in answer["top5"]]


@pytest.mark.parametrize("photo", ["chelsea.png", "coffee.png"])
def test_lite0_names_a_cat_and_a_cup(tmp_path: Path, photo: str) -> None:
    assert top5(0, photo, tmp_path) == TOP5[0, photo]


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_lite1_and_lite2_name_a_cat(tmp_path: Path, number: int) -> None:
    assert top5(number, "chelsea.png", tmp_path) == TOP5[number, "chelsea.png"]
