"""Dropout and drop path that change over a run; a network itself does not know how far its training is."""

from torch import nn

from lenext.errors import UsageError
from lenext.models.classifier import Classifier
from lenext.models.parts import DropPath
from lenext.training.config import TrainingConfig


def scale_drop_path(network: nn.Module, config: TrainingConfig, step: int, total: int) -> None:
    """With `drop_path` "rising", let the rates of update `step` of `total` be step / total of their own.

    ScheduledDropPath of Zoph et al. 2017, section 3.
    """
    if config.drop_path == "rising":
        for module in network.modules():
            if isinstance(module, DropPath):
                module.share = step / total


def set_dropout(classifier: Classifier, rate: float) -> None:
    """Set the rate of every dropout layer in the head; a head without any is a UsageError."""
    layers = [module for module in classifier.head.modules() if isinstance(module, nn.Dropout)]
    if not layers:
        raise UsageError(
            f"cannot set the dropout of the head to {rate:g}",
            why="the network has no dropout there",
            advice="another network, or a recipe without training.progression.dropout",
        )
    for layer in layers:
        layer.p = rate
