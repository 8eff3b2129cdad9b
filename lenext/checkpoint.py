"""Checkpoints: durable, digested, without pickle.

A checkpoint is a folder of files whose names carry the start of their SHA-256 and which are never overwritten, and
`manifest.json`, the only file ever replaced. The manifest lists generations, newest first; what it does not name goes.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from lenext.config import digest
from lenext.errors import WeightsError
from lenext.models.catalog import build
from lenext.models.classifier import Classifier
from lenext.run import write_durably

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a checkpoint's weights are: enough to build the network and to feed it.

    changes: fields of the catalog's row that this network changes (class count, channels).
    preprocessing: the plain form of `lenext.data.preprocessing.Preprocessing`.
    """

    model: str
    changes: Mapping[str, Any]
    classes: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    data: str
    epoch: int = 0
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One generation: the card, the network's tensors, and, where training can go on, its state.

    optimizer: tensors under "buffer/parameter". progress: plain JSON values. generation: 0 is the newest; more means
    that newer ones were damaged.
    """

    card: Card
    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)
    progress: Mapping[str, Any] = field(default_factory=dict)
    generation: int = 0


def save(folder: Path, checkpoint: Checkpoint, *, keep: int = 2) -> None:
    """Write a new generation and keep the `keep` newest; a crash at any point leaves the earlier ones whole."""
    folder.mkdir(parents=True, exist_ok=True)
    blobs = {
        "card": ("json", _json(vars(checkpoint.card))),
        "weights": ("safetensors", _tensors(checkpoint.weights)),
        "optimizer": ("safetensors", _tensors(checkpoint.optimizer)),
        "progress": ("json", _json(checkpoint.progress)),
    }
    files = {}
    for role, (suffix, content) in blobs.items():
        sha256 = hashlib.sha256(content).hexdigest()
        name = f"{role}-{sha256[:16]}.{suffix}"
        if not _intact(folder / name, len(content), sha256):
            write_durably(folder / name, content)
        files[role] = {"name": name, "bytes": len(content), "sha256": sha256}
    earlier = _generations(folder) if (folder / MANIFEST).exists() else []
    generations = [files, *[other for other in earlier if other != files]][:keep]
    manifest: dict[str, Any] = {"format": FORMAT, "generations": generations}
    manifest["digest"] = digest(manifest)
    write_durably(folder / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
    sweep(folder)


def load(folder: Path) -> Checkpoint:
    """Read the newest generation that is whole; every byte is checked against the manifest first."""
    damage = []
    for number, files in enumerate(_generations(folder)):
        try:
            content = {role: _verified(folder, entry) for role, entry in files.items()}
        except WeightsError as error:
            damage.append(error.why)
            continue
        card = json.loads(content["card"])
        return Checkpoint(
            card=Card(**{**card, "classes": tuple(card["classes"])}),
            weights=safetensors.torch.load(content["weights"]),
            optimizer=safetensors.torch.load(content["optimizer"]),
            progress=json.loads(content["progress"]),
            generation=number,
        )
    raise WeightsError(
        f"cannot load {folder}", why="; ".join(damage) or "its manifest names nothing", kept="the files, untouched",
        advice="use the other checkpoint of the run, or a copy",
    )  # fmt: skip


def restore(checkpoint: Checkpoint) -> Classifier:
    """Build the network of a checkpoint with its weights, in evaluation mode."""
    model = build(checkpoint.card.model, **checkpoint.card.changes)
    load_weights(model, checkpoint.weights)
    return model.eval()


def load_weights(model: Classifier, weights: Mapping[str, Tensor]) -> None:
    """Copy tensors into the network; names and shapes must all agree (WeightsError, exit 4)."""
    own = model.state_dict()
    missing = sorted(own.keys() - weights.keys())
    extra = sorted(weights.keys() - own.keys())
    shapes = [name for name in sorted(own.keys() & weights.keys()) if own[name].shape != weights[name].shape]
    if missing or extra or shapes:
        raise WeightsError(
            "the weights do not fit the network",
            why=f"missing {missing[:3]}, not asked for {extra[:3]}, other shape {shapes[:3]}",
            advice="build the network of the checkpoint's card",
        )
    model.load_state_dict(weights)


def sweep(folder: Path) -> None:
    """Delete files of this module that no generation names: what a crash or an older generation left."""
    named = {entry["name"] for files in _generations(folder) for entry in files.values()}
    for path in folder.iterdir():
        if path.name not in named and path.name != MANIFEST and path.is_file():
            path.unlink()


def _generations(folder: Path) -> list[dict[str, dict[str, Any]]]:
    path = folder / MANIFEST
    advice = "use the other checkpoint of the run, or a copy"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        stated = manifest.pop("digest")
        generations = list(manifest["generations"])
    except FileNotFoundError as error:
        raise WeightsError(f"cannot load {folder}", why=f"it has no {MANIFEST}", advice=advice) from error
    except (UnicodeDecodeError, json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise WeightsError(f"cannot load {folder}", why=f"{MANIFEST} is damaged: {error}", advice=advice) from error
    if digest(manifest) != stated:
        raise WeightsError(f"cannot load {folder}", why=f"{MANIFEST} does not match its own digest", advice=advice)
    return generations


def _verified(folder: Path, entry: Mapping[str, Any]) -> bytes:
    path = folder / Path(entry["name"]).name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot load {path}", why=f"{path.name}: {error.strerror}", advice="") from error
    if len(content) != entry["bytes"] or hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise WeightsError(
            f"cannot load {path}",
            why=f"{path.name} has {len(content)} bytes that do not match its digest ({entry['bytes']} expected)",
            advice="",
        )
    return content


def _intact(path: Path, size: int, sha256: str) -> bool:
    return path.is_file() and path.stat().st_size == size and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(content), sort_keys=True, ensure_ascii=False).encode()


def _tensors(tensors: Mapping[str, Tensor]) -> bytes:
    return safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
