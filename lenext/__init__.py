"""lenext: a workbench for convolutional image classifiers, from LeNet-5 to ConvNeXt V2."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lenext.costs.subject import cost_of as cost
    from lenext.data.arrays import from_arrays
    from lenext.experiment.answers import evaluate, load, predict
    from lenext.experiment.opening import train
    from lenext.experiment.resuming import resume
    from lenext.models.catalog import build, list_models
    from lenext.reporting.page import write_report

_HOMES = {
    "build": ("lenext.models.catalog", "build"),
    "cost": ("lenext.costs.subject", "cost_of"),
    "evaluate": ("lenext.experiment.answers", "evaluate"),
    "from_arrays": ("lenext.data.arrays", "from_arrays"),
    "list_models": ("lenext.models.catalog", "list_models"),
    "load": ("lenext.experiment.answers", "load"),
    "predict": ("lenext.experiment.answers", "predict"),
    "resume": ("lenext.experiment.resuming", "resume"),
    "train": ("lenext.experiment.opening", "train"),
    "write_report": ("lenext.reporting.page", "write_report"),
}

__all__ = [
    "build", "cost", "evaluate", "from_arrays", "list_models", "load", "predict", "resume", "train", "write_report",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a verb's module when the verb is first used, so that `import lenext` is free of torch."""
    if name == "weights":
        return importlib.import_module("lenext.weights")
    if name not in _HOMES:
        raise AttributeError(f"module 'lenext' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)
