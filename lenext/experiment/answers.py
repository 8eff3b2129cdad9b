"""What a trained run is asked: how good it is, what is in these files, its network."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.config import digest, from_mapping, read_toml
from lenext.data.batches import prepared
from lenext.data.containers import shown
from lenext.data.decode import decode_file
from lenext.data.listing import list_files
from lenext.data.preprocessing import Preprocessing, preprocess
from lenext.data.sources import Source, find_source
from lenext.data.split import split_digest
from lenext.data.store import Store
from lenext.device import Precision, cores
from lenext.errors import UsageError
from lenext.evaluation.choosing import choose_engine, require_engine
from lenext.evaluation.engines import EngineConfig, EngineName
from lenext.evaluation.scoring import BATCH_SIZE, describe_prediction, score_store
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
_PIECE = 8  # files that a thread prepares before it takes the next


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


@dataclass(frozen=True)
class Answered:
    """What `predict` returns, a row a file, and by which engine it was found and why by that one."""

    rows: list[dict[str, Any]]
    engine: str
    why: str


def predict(
    path: Path | str, files: Sequence[Path | str], *, engine: EngineName = "auto", precision: Precision = "float32"
) -> list[dict[str, Any]]:
    """Classify image files, and those in folders, with a run's chosen checkpoint or with a checkpoint folder.

    engine: "eager", "compile", "openvino" or "onnxruntime"; "auto" is eager unless another pays for its preparation.
    precision: of the network's numbers, see `EngineConfig`. Returns, for each file,
    {"file", "class", "index", "probability", "top5"}.
    """
    return classify_files(path, files, EngineConfig(name=engine, precision=precision)).rows


def classify_files(path: Path | str, files: Sequence[Path | str], config: EngineConfig) -> Answered:
    """Do what `predict` does, and tell by which engine; images are decoded in threads while it works."""
    require_engine(config)
    loaded = checkpoints.load(checkpoints.find_folder(Path(path)))
    card = loaded.card
    _require_classes(Path(path), card)
    preprocessing = from_mapping(Preprocessing, card.preprocessing)
    found = [file for given in map(Path, files) for file in (list_files(given) if given.is_dir() else [given])]
    if not found:
        return Answered([], "none", "there are no files")

    def prepare(start: int) -> Tensor:
        """One image after the other: a photograph as it was decoded may be a hundred times what the network sees."""
        piece = found[start : start + _PIECE]
        images = (decode_file(file, preprocessing.channels, preprocessing.min_side) for file in piece)
        return torch.cat([preprocess([image], preprocessing) for image in images])

    pieces = prepared(prepare, range(0, len(found), _PIECE), 2 * cores())
    sample = next(pieces)
    engine, why = choose_engine(checkpoints.restore(loaded), sample, len(found), config)
    with engine:
        batches = engine.stream(_joined(itertools.chain([sample], pieces), config.batch_size))
        scores = np.concatenate(list(batches))
    rows = [
        {"file": shown(str(file)), **describe_prediction(row, card.classes, multi_label=card.multi_label)}
        for file, row in zip(found, scores, strict=True)
    ]
    return Answered(rows, str(engine.about), why)


def _joined(pieces: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """Put pieces together to batches of at least `size` images; the last may have fewer."""
    held: list[Tensor] = []
    for piece in pieces:
        held.append(piece)
        if sum(map(len, held)) >= size:
            yield torch.cat(held)
            held = []
    if held:
        yield torch.cat(held)


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
