"""Objectives: what turns a batch into a loss to minimise."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lenext.errors import UsageError
from lenext.models.classifier import Classifier
from lenext.models.convnext import ConvNeXt
from lenext.training.config import LossConfig
from lenext.training.masked import MaskedDecoder, masked_loss, require_maskable


@dataclass(frozen=True)
class Outcome:
    """loss: (), the batch's mean. scores: (N, num_classes), at least float32; None where no classes are learnt."""

    loss: Tensor
    scores: Tensor | None


class Objective(nn.Module):
    """A classifier, its loss and what only the loss needs: the one module that is compiled, and wrapped for many
    processes.
    """

    def __init__(
        self, classifier: Classifier, config: LossConfig, *, multi_label: bool = False, weights: Tensor | None = None
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.config = config
        self.multi_label = multi_label
        self.decoder = None if config.uses_labels else MaskedDecoder(require_maskable(classifier), config.decoder)
        self.register_buffer("weights", weights, persistent=False)
        if config.name == "lenet_map" and (multi_label or weights is not None):
            raise UsageError(
                "cannot use the loss 'lenet_map' here",
                why="it is for one class an image, all of one weight",
                advice="--set training.loss.name=cross_entropy",
            )

    def forward(self, images: Tensor, targets: Tensor) -> Outcome:
        """images: (N, C, H, W). targets: (N,) class indices, or float (N, num_classes) shares of the classes."""
        if self.decoder is not None:
            network = cast(ConvNeXt, self.classifier)  # as it was asked for the decoder
            return Outcome(masked_loss(network, self.decoder, images, self.config.hidden), None)
        heads = self.classifier.auxiliary
        if not (self.training and heads and self.config.auxiliary):
            scores = _wide(self.classifier(images))
            return Outcome(self._loss(scores, targets), scores)
        found = self.classifier.features(images, [*(f"stages.{name}" for name in heads), "head"])
        scores = _wide(found["head"])
        loss = self._loss(scores, targets)
        for name, head in heads.items():
            loss = loss + self.config.auxiliary * self._loss(_wide(head(found[f"stages.{name}"])), targets)
        return Outcome(loss, scores)

    def _loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of one head's scores, (N, num_classes)."""
        if self.config.name == "lenet_map":
            return lenet_map_loss(scores, targets, self.config.rubbish)
        weights, smoothing = self._buffers["weights"], self.config.label_smoothing
        if self.multi_label:
            smooth = targets * (1 - smoothing) + smoothing / 2
            return F.binary_cross_entropy_with_logits(scores, smooth, pos_weight=weights)
        if weights is None:
            return F.cross_entropy(scores, targets, label_smoothing=smoothing)
        # divided by the images and not, as torch does, by their weights: so that two half batches make a whole one
        return F.cross_entropy(scores, targets, weights, reduction="none", label_smoothing=smoothing).mean()

    def trained(self) -> nn.Module:
        """What the optimiser changes, under the classifier's own places; a decoder is a place beside them."""
        if self.decoder is None:
            return self.classifier
        together = nn.Module()
        for name, place in (*self.classifier.named_children(), ("decoder", self.decoder)):
            together.add_module(name, place)
        return together

    def hits(self, scores: Tensor | None, targets: Tensor) -> int:
        """Count the images that are wholly right: the likeliest class, or where an image may have several, all."""
        if scores is None:
            return 0
        if self.multi_label:
            return int(((scores > 0) == (targets > 0.5)).all(1).sum())
        return int((scores.argmax(1) == (targets if targets.ndim == 1 else targets.argmax(1))).sum())


def _wide(scores: Tensor) -> Tensor:
    """The scores in float32 at least."""
    return scores if scores.dtype == torch.float64 else scores.float()


def class_weights(labels: npt.NDArray[Any], config: LossConfig, num_classes: int) -> Tensor | None:
    """Return the weight of each class, (K,), or None where all count alike.

    labels: of the training images, int64 (N,), or float32 (N, K) where an image may have several classes; there the
    weight is that of the positives, negatives over positives. A class of no image, or of every one, has the weight 1.
    """
    if config.class_weights == "none":
        return None
    n = len(labels)
    counts = np.bincount(labels, minlength=num_classes) if labels.ndim == 1 else labels.sum(axis=0)
    shares = n / num_classes if labels.ndim == 1 else n - counts
    weights = np.where((counts > 0) & (shares > 0), shares / np.maximum(counts, 1), 1.0)
    return torch.from_numpy(weights.astype(np.float32))


def lenet_map_loss(scores: Tensor, targets: Tensor, rubbish: float) -> Tensor:
    """Equation 9 of LeCun et al. 1998: mean of y_target + log(e^-j + sum_i e^-y_i), y the penalties, j the rubbish.

    scores: (N, K), the negative penalties. It is cross-entropy with one more class, "none of these", whose penalty is
    the constant j: it stops the penalties of classes that are far away already from being pushed further.
    """
    none = scores.new_full((len(scores), 1), -rubbish)
    targets = F.pad(targets, (0, 1)) if targets.ndim == 2 else targets
    return F.cross_entropy(torch.cat((scores, none), dim=1), targets)
