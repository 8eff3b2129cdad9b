"""Checkpoints: durable, digested, without pickle.

A checkpoint is a folder of files whose names carry the start of their SHA-256 and which are never overwritten, and
`manifest.json`, which lists generations, newest first. `manifest-copy.json` is written just before it and stands in for
it where it is damaged or missing. Only these two are ever replaced; what neither names goes.
"""

import contextlib
import hashlib
import json
import re
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
from lenext.run import load_run, write_durably

FORMAT = 1
MANIFEST = "manifest.json"
COPY = "manifest-copy.json"
_BLOBS = {"card": "json", "weights": "safetensors", "optimizer": "safetensors", "progress": "json"}  # role: suffix
_OWN = re.compile(rf"({'|'.join(_BLOBS)})-[0-9a-f]{{16}}\.(json|safetensors)")
_UNFINISHED = re.compile(rf"\.({_OWN.pattern}|{re.escape(MANIFEST)}|{re.escape(COPY)})\.\d+\.part")  # of write_durably


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a checkpoint's weights are: enough to build the network and to feed it.

    changes: fields of the catalog's row that this network changes (class count, channels). classes: none where it was
    trained without labels.
    multi_label: an image may have several of the classes.
    preprocessing: the plain form of `lenext.data.preprocessing.Preprocessing`.
    """

    model: str
    changes: Mapping[str, Any]
    classes: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    data: str
    epoch: int = 0
    step: int = 0
    multi_label: bool = False


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
        "card": _json(vars(checkpoint.card)),
        "weights": _tensors(checkpoint.weights),
        "optimizer": _tensors(checkpoint.optimizer),
        "progress": _json(checkpoint.progress),
    }
    files: dict[str, dict[str, Any]] = {}
    for role, content in blobs.items():
        sha256 = hashlib.sha256(content).hexdigest()
        entry: dict[str, Any] = {
            "name": f"{role}-{sha256[:16]}.{_BLOBS[role]}",
            "bytes": len(content),
            "sha256": sha256,
        }
        if not _intact(folder, entry):
            write_durably(folder / entry["name"], content)
        files[role] = entry
    earlier = _generations(folder) if keep > 1 and any((folder / name).exists() for name in (MANIFEST, COPY)) else []
    _write_manifest(folder, [files, *[other for other in earlier if other != files]][:keep])
    sweep(folder)


def find_folder(path: Path) -> Path:
    """The folder itself where it is a checkpoint, else the checkpoint that the run chose."""
    return path if (path / MANIFEST).is_file() else path / str(load_run(path)["chosen"])


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
    raise _unusable(folder, "; ".join(damage) or "its manifest names nothing")


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


def mend(folder: Path) -> None:
    """Make both manifests name the whole generations, so that the next save drops none of them; then sweep."""
    generations = _generations(folder)
    whole = [files for files in generations if all(_intact(folder, entry) for entry in files.values())]
    if whole and not all(_states(folder / name, whole) for name in (MANIFEST, COPY)):
        _write_manifest(folder, whole)
    sweep(folder)


def sweep(folder: Path) -> None:
    """Delete files of this module that neither manifest names: what a crash or an older generation left."""
    generations = _generations(folder)
    with contextlib.suppress(_DamagedManifestError, WeightsError):
        generations = generations + _read_manifest(folder / COPY)
    named = {entry["name"] for files in generations for entry in files.values()}
    for path in folder.iterdir():
        own = _OWN.fullmatch(path.name) or _UNFINISHED.fullmatch(path.name)
        if own and path.name not in named:
            path.unlink()


def _write_manifest(folder: Path, generations: list[dict[str, dict[str, Any]]]) -> None:
    manifest: dict[str, Any] = {"format": FORMAT, "generations": generations}
    manifest["digest"] = digest(manifest)
    content = (json.dumps(manifest, indent=2) + "\n").encode()
    for name in (COPY, MANIFEST):  # the copy first: where it stands in, it must not be the older one
        write_durably(folder / name, content)


def _generations(folder: Path) -> list[dict[str, dict[str, Any]]]:
    """What the manifest lists, or its copy where the manifest is damaged; another format is refused, not repaired."""
    damage = []
    for name in (MANIFEST, COPY):
        try:
            return _read_manifest(folder / name)
        except _DamagedManifestError as error:
            damage.append(str(error))
    raise _unusable(folder, "; ".join(damage))


class _DamagedManifestError(Exception):
    """A manifest that is missing, torn or changed by accident."""


def _read_manifest(path: Path) -> list[dict[str, dict[str, Any]]]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        stated = manifest.pop("digest")
        form, generations = manifest["format"], manifest["generations"]
    except FileNotFoundError as error:
        raise _DamagedManifestError(f"it has no {path.name}") from error
    except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise _DamagedManifestError(f"{path.name} is damaged: {error}") from error
    if digest(manifest) != stated:
        raise _DamagedManifestError(f"{path.name} does not match its own digest")
    if form != FORMAT:
        raise _unusable(path.parent, f"its format is {form!r}, this lenext reads {FORMAT}")
    if not isinstance(generations, list) or not all(map(_well_formed, generations)):
        raise _unusable(path.parent, f"{path.name} names other files than a checkpoint has")
    return generations


def _states(path: Path, generations: list[dict[str, dict[str, Any]]]) -> bool:
    try:
        return _read_manifest(path) == generations
    except (_DamagedManifestError, WeightsError):
        return False


def _well_formed(files: Any) -> bool:
    """Whether a generation names one file of each role, in this folder and by its digest."""
    return (
        isinstance(files, dict)
        and files.keys() == _BLOBS.keys()
        and all(isinstance(entry, dict) and entry.keys() == {"name", "bytes", "sha256"} for entry in files.values())
        and all(
            entry["name"] == f"{role}-{str(entry['sha256'])[:16]}.{_BLOBS[role]}" and _OWN.fullmatch(entry["name"])
            for role, entry in files.items()
        )
    )


def _verified(folder: Path, entry: Mapping[str, Any]) -> bytes:
    path = folder / str(entry["name"])
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unusable(folder, f"{path.name}: {error.strerror}") from error
    if len(content) != entry["bytes"] or hashlib.sha256(content).hexdigest() != entry["sha256"]:
        why = f"{path.name} has {len(content)} bytes that do not match its digest ({entry['bytes']} expected)"
        raise _unusable(folder, why)
    return content


def _intact(folder: Path, entry: Mapping[str, Any]) -> bool:
    try:
        _verified(folder, entry)
    except WeightsError:
        return False
    return True


def _unusable(folder: Path, why: str) -> WeightsError:
    advice = "use the other checkpoint of the run, or a copy"
    return WeightsError(f"cannot load {folder}", why=why, kept="the files, untouched", advice=advice)


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(content), sort_keys=True, ensure_ascii=False).encode()


def _tensors(tensors: Mapping[str, Tensor]) -> bytes:
    return safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
