"""What a trained run is asked: how good it is, what is in these files, its network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.config import digest, from_mapping, read_toml
from lenext.data.containers import shown
from lenext.data.decode import decode_file
from lenext.data.preprocessing import Preprocessing
from lenext.data.sources import Source, find_source
from lenext.data.split import split_digest
from lenext.data.store import Store
from lenext.errors import UsageError
from lenext.evaluation.scoring import BATCH_SIZE, describe_prediction, predict_images, score_store
from lenext.experiment.config import Experiment
from lenext.experiment.gallery import make_gallery
from lenext.experiment.material import (
    count_workers,
    is_in_memory,
    open_test,
    recorded_division,
    require_task,
    trained_on,
)
from lenext.judge.metrics import Metrics, MultiLabelMetrics, measure
from lenext.models.classifier import Classifier
from lenext.predictions import Predictions

FILES_AT_A_TIME = 32  # photographs in memory as they were decoded, before they are scaled


def evaluate(
    run: Path | str, split: Literal["test", "validation"] = "test", *, source: Source | None = None
) -> Metrics | MultiLabelMetrics:
    """Score the run's chosen checkpoint on a split; write predictions, metrics and, of test, the gallery into the run.

    Every opening of the test split is counted in `run.json`. source: the data itself, where it came as arrays.
    """
    run = Path(run)
    runs.load_run(run)
    with runs.locked(run):
        index = runs.load_run(run)
        runs.verify(run, runs.CONFIG_TOML)
        experiment = from_mapping(Experiment, read_toml(run / runs.CONFIG_TOML))
        loaded = checkpoints.load(run / index["chosen"])
        _require_classes(run, loaded.card)
        model = checkpoints.restore(loaded)
        source = source or find_source(experiment.data.name, experiment.data.root)
        require_task(run, source, loaded.card)
        store = _open(run, source, experiment, split, int(loaded.card.preprocessing["channels"]))
        runs.update_run(run, test_opened=index["test_opened"] + (split == "test"))
        predictions = predict_store(model, store, loaded.card, split, count_workers(store, experiment.data))
        predictions.save(run / runs.predictions_name(split))
        metrics = measure(predictions)
        seen = trained_on(run, store) if split == "test" else 0
        about = {
            "split": split,
            "trained_on": seen,
            "checkpoint": index["chosen"],
            "model": loaded.card.model,
            "epoch": loaded.card.epoch,
        }
        runs.write_json(run / runs.metrics_name(split), {**about, **metrics.to_mapping()})
        if split == "test":  # the report shows the gallery beside the predictions on the test split
            runs.write_durably(run / runs.GALLERY_NPZ, make_gallery(model, store, predictions))
        runs.update_run(run)
    return metrics


def predict_store(model: Classifier, store: Store, card: checkpoints.Card, split: str, workers: int = 0) -> Predictions:
    """Score every image of a store as the card says that the network is fed."""
    size = BATCH_SIZE if is_in_memory(store) else FILES_AT_A_TIME
    preprocessing = from_mapping(Preprocessing, card.preprocessing)
    return Predictions(
        ids=tuple(store.ids),
        labels=store.labels,
        scores=score_store(model, store, preprocessing, batch_size=size, workers=workers),
        classes=card.classes,
        split=split,
        split_digest=split_digest(store.ids),
        preprocessing_digest=digest(card.preprocessing),
        model=card.model,
    )


def predict(path: Path | str, files: Sequence[Path | str]) -> list[dict[str, Any]]:
    """Classify image files with a run's chosen checkpoint, or with a checkpoint folder.

    Returns, for each file, {"file", "class", "index", "probability", "top5"}.
    """
    loaded = checkpoints.load(checkpoints.find_folder(Path(path)))
    _require_classes(Path(path), loaded.card)
    preprocessing = from_mapping(Preprocessing, loaded.card.preprocessing)
    model = checkpoints.restore(loaded)
    answers = []
    for start in range(0, len(files), FILES_AT_A_TIME):
        batch = files[start : start + FILES_AT_A_TIME]
        images = [decode_file(Path(file), preprocessing.channels, preprocessing.min_side) for file in batch]
        scores = predict_images(model, images, preprocessing)
        card = loaded.card
        rows = zip(batch, scores, strict=True)
        answers += [
            {"file": shown(str(file)), **describe_prediction(row, card.classes, multi_label=card.multi_label)}
            for file, row in rows
        ]
    return answers


def load(path: Path | str) -> Classifier:
    """Build the network of a run (its chosen checkpoint) or of a checkpoint folder, in evaluation mode."""
    return checkpoints.restore(checkpoints.load(checkpoints.find_folder(Path(path))))


def _require_classes(path: Path, card: checkpoints.Card) -> None:
    """Refuse to ask a network for classes that has learnt none."""
    if not card.classes:
        raise UsageError(
            f"cannot classify with {path}",
            why="it was trained without labels (loss fcmae), and knows no classes yet",
            advice=f"lenext train DATA --weights {path}",
        )


def _open(
    run: Path, source: Source, experiment: Experiment, split: Literal["test", "validation"], channels: int
) -> Store:
    if split == "test":
        return open_test(run, source, experiment.data, experiment.size, channels)
    return recorded_division(run, source, experiment.data, experiment.size, channels)["validation"]
