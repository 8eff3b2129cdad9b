"""What of a run grows with its epochs: sizes, dropout and variation of training images (Tan & Le 2021, section 4.2)."""

import dataclasses

from lenext.errors import UsageError
from lenext.experiment.config import Experiment
from lenext.experiment.material import Parts
from lenext.models.catalog import get_config
from lenext.models.classifier import Classifier
from lenext.training.dropping import set_dropout
from lenext.training.masked import count_visible, patch_side, require_maskable
from lenext.training.schedule import stage_value


def parts_in(epoch: int, experiment: Experiment, parts: Parts) -> Parts:
    """The parts as training sees them in `epoch`, from 0: its size and variation; validation keeps the run's own."""
    config = experiment.training.progression
    augment, preprocessing = experiment.augment, parts.preprocessing
    if config.size is not None:
        size = _size(epoch, experiment)
        border = preprocessing.border * size // experiment.size
        preprocessing = dataclasses.replace(preprocessing, size=(size, size), border=border)
    if config.strength is not None and augment.randaugment is not None:
        strength = round(_value(config.strength, epoch, experiment))
        augment = dataclasses.replace(augment, randaugment=(augment.randaugment[0], strength))
    if config.mixup is not None:
        augment = dataclasses.replace(augment, mixup=_value(config.mixup, epoch, experiment))
    variation = dataclasses.replace(parts.variation, config=augment)
    return dataclasses.replace(parts, preprocessing=preprocessing, variation=variation)


def adjust_network(epoch: int, experiment: Experiment, classifier: Classifier) -> None:
    """Give the network the dropout of `epoch`, where one is asked for."""
    dropout = experiment.training.progression.dropout
    if dropout is not None:
        set_dropout(classifier, _value(dropout, epoch, experiment))


def mean_area(experiment: Experiment) -> float:
    """The area of the training images, in parts of that at the run's size, on average over the epochs."""
    sizes = [_size(epoch, experiment) for epoch in range(experiment.training.epochs)]
    return sum((size / experiment.size) ** 2 for size in sizes) / len(sizes)


def require_progression(experiment: Experiment, classifier: Classifier) -> None:
    """Refuse, before anything is written, what the first epoch could not begin with (UsageError)."""
    adjust_network(0, experiment, classifier)
    config, row, smallest = experiment.training.progression, get_config(experiment.model), _size(0, experiment)
    if not row.accepts(smallest):
        raise UsageError(
            f"cannot begin with images of {smallest} x {smallest} pixels",
            why=f"{experiment.model} takes {row.sizes()}",
            advice="a larger --size, or --set training.progression.size=[1.0,1.0]",
        )
    loss = experiment.training.loss
    if not loss.uses_labels:
        side = patch_side(require_maskable(classifier))
        for size in sorted({_size(epoch, experiment) for epoch in range(experiment.training.epochs)}):
            count_visible(size, size, side, loss.hidden)
    if config.strength is not None and experiment.augment.randaugment is None:
        raise UsageError(
            "cannot raise the strength of RandAugment",
            why="training.progression.strength is set, and augment.randaugment is not",
            advice="--set augment.randaugment=[2,5]",
        )


def _size(epoch: int, experiment: Experiment) -> int:
    limits = experiment.training.progression.size or (1.0, 1.0)
    return max(round(experiment.size * _value(limits, epoch, experiment)), 1)


def _value(limits: tuple[float, float], epoch: int, experiment: Experiment) -> float:
    return stage_value(experiment.training.progression, limits, epoch, experiment.training.epochs)
