"""What can be asked for its cost: a network's name, a run or a checkpoint, a factory in a file, or any module.

Whatever it is, it becomes a network, without data unless it is to be run, and the size of one image.
"""

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lenext import checkpoint
from lenext.costs.meta import without_data
from lenext.costs.onnx_graph import count_onnx
from lenext.costs.operators import Cost, count_cost
from lenext.errors import UsageError
from lenext.models.catalog import build, get_config
from lenext.models.classifier import Classifier

Place = Callable[[], contextlib.AbstractContextManager[None]]
SIDE = 224  # pixels: of a factory's images, unless told otherwise


@dataclass(frozen=True)
class Subject:
    """A network, and the size of one image without the batch."""

    name: str
    model: nn.Module
    input_size: tuple[int, ...]


def cost_of(model: "nn.Module | str | PathLike[str]", input_size: Sequence[int] | None = None) -> Cost:
    """Count one image through a module, an .onnx file or what `find_subject` finds; see `count_cost`.

    input_size: without the batch; a module's must be told, every other has its own.
    """
    if isinstance(model, nn.Module):
        if input_size is None:
            advice = "lenext.cost(model, (3, 224, 224))"
            raise UsageError("cannot count a module on its own", why="its input has no size", advice=advice)
        return count_cost(model, input_size)
    text = fspath(model)
    if text.endswith(".onnx"):
        return count_onnx(Path(text), input_size or ())
    subject = find_subject(text, size=input_size or ())
    return count_cost(subject.model, subject.input_size)


def find_subject(text: str, *, size: Sequence[int] = (), classes: int = 0, data: bool = False) -> Subject:
    """Find a network without data by a name of the catalog, a run's or checkpoint's folder, or `file.py:factory`.

    size: one number for height and width, both of them, or every side (channels, height, width); (): the paper's, the
    run's own, or (3, 224, 224) for a factory. classes: of a network of the catalog; 0 for the paper's. data: with
    weights, a run's own, others drawn by torch, the same every time. A UsageError for what is none of these, and for a
    factory that does not give a module.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same weights every time, where they are drawn
        return _found(text, size, classes, data=data)


def _found(text: str, size: Sequence[int], classes: int, *, data: bool) -> Subject:
    place: Place = contextlib.nullcontext if data else without_data
    file, colon, factory = text.rpartition(":")
    if colon and file.endswith(".py"):
        if classes:
            raise _fixed("a factory's classes", "its file decides them")
        model = _made(Path(file), factory, place)
        channels, pixels = (model.config.in_channels if isinstance(model, Classifier) else 3), SIDE
    elif Path(text).is_dir():
        if classes:
            raise _fixed("a run's classes", "its network is trained for its own")
        loaded = checkpoint.load(checkpoint.find_folder(Path(text)))
        with place():
            model = build(loaded.card.model, **loaded.card.changes)
        if data:
            checkpoint.load_weights(model, loaded.weights)
        channels, pixels = model.config.in_channels, loaded.card.preprocessing["size"][0]
    else:
        pixels = get_config(text).input_size
        with place():
            model = build(text, **({"num_classes": classes} if classes else {}))
        channels = model.config.in_channels
    return Subject(text, model, _sides(tuple(size), channels, pixels, isinstance(model, Classifier)))


def _sides(told: tuple[int, ...], channels: int, pixels: int, of_images: bool) -> tuple[int, ...]:
    """All sides of an input, of what was told of them."""
    if len(told) < 2:
        return channels, *((told or (pixels,)) * 2)
    return (channels, *told) if len(told) == 2 and of_images else told


def _made(file: Path, factory: str, place: Place) -> nn.Module:
    """What the factory returns; its file may import its neighbours."""
    what, advice = f"cannot make a network by {file}:{factory}", "file.py:factory, a function without arguments"
    if not file.is_file():
        raise UsageError(what, why=f"there is no file {file}", advice=advice)
    name = f"lenext_factory_{file.stem}"
    found = importlib.util.spec_from_file_location(name, file)
    assert found is not None and found.loader is not None  # the suffix is .py
    module = importlib.util.module_from_spec(found)
    beside = str(file.resolve().parent)
    sys.path.insert(0, beside)
    sys.modules[name] = module  # dataclasses look there for their own module
    try:
        found.loader.exec_module(module)
        make = getattr(module, factory, None)
        made = make if isinstance(make, nn.Module) else _run(make, place) if callable(make) else None
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise UsageError(what, why=why, advice=advice) from error
    finally:
        sys.path.remove(beside)
        del sys.modules[name]
    if not callable(make):
        raise UsageError(what, why=f"the file has no function {factory}", advice=advice)
    if not isinstance(made, nn.Module):
        raise UsageError(what, why=f"it gives a {type(made).__name__}, not a torch.nn.Module", advice=advice)
    return made


def _run(make: Callable[[], Any], place: Place) -> Any:
    try:
        with place():
            return make()
    except Exception:  # some read numbers while they build, as torch.linspace(0, 0.1, 12)[3].item()
        return make()


def _fixed(what: str, why: str) -> UsageError:
    return UsageError(f"cannot change {what}", why=why, advice="drop it")
