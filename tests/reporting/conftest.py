"""A run folder made from real data: scikit-learn's digits, learnt by scikit-learn's own network."""

import io
import json
import shutil
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from lenext import run as runs
from lenext.config import to_toml
from lenext.judge.metrics import measure
from lenext.judge.ranking import gallery_rows
from lenext.predictions import Predictions

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
HIDDEN, EPOCHS, BATCH = 24, 8, 32


def save_evaluation(run: Path, predictions: Predictions, gallery: dict[str, np.ndarray]) -> None:
    """Write what an evaluation leaves in a run."""
    predictions.save(run / "predictions-test.npz")
    about = {"split": "test", "checkpoint": "best", "model": predictions.model, "epoch": EPOCHS}
    runs.write_json(run / "metrics-test.json", {**about, **measure(predictions).to_mapping()})
    content = io.BytesIO()
    np.savez_compressed(content, **gallery)  # type: ignore[arg-type]  # its stub takes allow_pickle for a keyword
    (run / "gallery.npz").write_bytes(content.getvalue())


def gallery_of(predictions: Predictions, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of a gallery: digits of 8 x 8 pixels, kept as they are."""
    rows = gallery_rows(predictions)
    return {
        "thumbnails": np.rint(pixels[rows] * 255 / 16).astype(np.uint8).reshape(-1, 8, 8, 1),
        "thumbnails_size": np.full((len(rows), 2), 8),
        "thumbnails_row": rows,
        "filters": np.eye(9, dtype=np.float32).reshape(9, 1, 3, 3),
        "filters_name": np.array("coefs_.0"),
    }


def data_facts(parts: dict[str, np.ndarray], classes: tuple[str, ...]) -> dict[str, object]:
    """What a run tells of its data."""
    found = {"kind": "exact duplicate", "count": 2, "text": "Both are in train.", "examples": ["00017 = 00612"]}
    return {
        "source": "digits",
        "found": "1,797 images of 8 x 8 pixels",
        "ignored": ["3 files in .ipynb_checkpoints"],
        "findings": [found],
        "split": {
            name: {
                "images": len(labels),
                "classes": {label: int((labels == k).sum()) for k, label in enumerate(classes)},
            }
            for name, labels in parts.items()
        },
    }


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained and evaluated; read only."""
    run = tmp_path_factory.mktemp("runs") / "digits-mlp"
    run.mkdir()
    pixels, labels = load_digits(return_X_y=True)
    ids = np.array([f"{row:05d}" for row in range(len(labels))])
    split = train_test_split(pixels, labels, ids, test_size=360, stratify=labels, random_state=0)
    train_x, test_x, train_y, test_y, _, test_ids = split
    train_x, held_x, train_y, held_y = train_test_split(train_x, train_y, test_size=200, random_state=0)
    network = MLPClassifier(hidden_layer_sizes=(HIDDEN,), batch_size=BATCH, random_state=0)
    began, lines = time.perf_counter(), []
    for epoch in range(1, EPOCHS + 1):
        start = time.perf_counter()
        with warnings.catch_warnings(action="ignore"):
            network.partial_fit(train_x / 16, train_y, classes=range(10))
        seconds = time.perf_counter() - start
        record: dict[str, object] = {
            "kind": "epoch",
            "epoch": epoch,
            "step": epoch * len(train_x) // BATCH,
            "lr": 0.001,
        }
        for name, x, y in (("train", train_x, train_y), ("validation", held_x, held_y)):
            probabilities = network.predict_proba(x / 16)
            record[f"{name}_loss"] = log_loss(y, probabilities)
            score = "accuracy" if name == "train" else "score"
            record[f"{name}_{score}"] = accuracy_score(y, probabilities.argmax(axis=1))
        record |= {"seconds": seconds, "images_per_second": len(train_x) / seconds}
        lines.append(json.dumps(record))
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (run / "config.toml").write_text(to_toml({"model": "mlp", "seed": 0, "data": {"name": "digits"}}), encoding="utf-8")
    (run / "split.csv").write_text("id,split\n" + "".join(f"{name},test\n" for name in test_ids), encoding="utf-8")
    runs.write_json(run / "environment.json", runs.environment(("numpy", "scikit-learn")))
    predictions = Predictions(
        ids=tuple(f"test/{name}" for name in test_ids),
        labels=test_y,
        scores=np.log(np.maximum(network.predict_proba(test_x / 16), 1e-30)),
        classes=CLASSES,
        split="test",
        split_digest=runs.sha256_file(run / "split.csv"),
        preprocessing_digest="0" * 64,
        model="mlp",
    )
    filters = network.coefs_[0].T.reshape(HIDDEN, 1, 8, 8).astype(np.float32)
    save_evaluation(run, predictions, gallery_of(predictions, test_x) | {"filters": filters})
    parts = {"train": train_y, "validation": held_y, "test": test_y}
    runs.write_json(run / "data.json", data_facts(parts, CLASSES))
    runs.update_run(
        run,
        lenext="0.1.0",
        name=run.name,
        status="finished",
        command="lenext train digits --model mlp",
        created="2026-12-01T14:03:00+00:00",
        model="mlp",
        data="digits",
        params=sum(part.size for part in (*network.coefs_, *network.intercepts_)),
        macs=sum(part.size for part in network.coefs_),
        train_images=len(train_x),
        validation_images=len(held_x),
        train_seconds=time.perf_counter() - began,
        test_opened=1,
        chosen="best",
    )
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained and evaluated run, free to be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "digits-mlp"))


@pytest.fixture
def labelled(run: Path) -> Path:
    """The run as if of a multi-label task: each digit is even or not, small or not, round or not."""
    seen = Predictions.load(run / "predictions-test.npz")
    digit = np.arange(10)
    members = np.stack([digit % 2 == 0, digit < 5, np.isin(digit, (0, 6, 8, 9))], axis=1)  # (10, 3)
    odds = seen.probabilities() @ members
    predictions = Predictions(
        ids=seen.ids,
        labels=members[seen.labels],
        scores=np.log(np.clip(odds, 1e-6, 1 - 1e-6)) - np.log1p(-np.clip(odds, 1e-6, 1 - 1e-6)),
        classes=("even", "small", "round"),
        split="test",
        split_digest=seen.split_digest,
        preprocessing_digest=seen.preprocessing_digest,
        model="mlp",
    )
    pixels = load_digits().data[[int(name.removeprefix("test/")) for name in seen.ids]]
    save_evaluation(run, predictions, gallery_of(predictions, pixels))
    (run / "data.json").unlink()
    runs.update_run(run)
    return run


@pytest.fixture
def unevaluated(run: Path) -> Path:
    """A run that was trained and not evaluated yet."""
    for name in ("metrics-test.json", "predictions-test.npz", "gallery.npz"):
        (run / name).unlink()
    runs.update_run(run, test_opened=0)
    return run
