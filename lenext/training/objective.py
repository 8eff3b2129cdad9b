"""Objectives: what turns a batch into a loss to minimise."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lenext.models.classifier import Classifier
from lenext.training.config import LossConfig


@dataclass(frozen=True)
class Outcome:
    """loss: (), the mean over the batch. scores: (N, num_classes), float32."""

    loss: Tensor
    scores: Tensor


class Objective(nn.Module):
    """A classifier and its loss: the one module that is compiled, and wrapped for many processes."""

    def __init__(self, classifier: Classifier, config: LossConfig) -> None:
        super().__init__()
        self.classifier = classifier
        self.config = config

    def forward(self, images: Tensor, targets: Tensor) -> Outcome:
        """images: (N, C, H, W). targets: (N,) class indices."""
        scores = self.classifier(images).float()
        if self.config.name == "lenet_map":
            return Outcome(lenet_map_loss(scores, targets, self.config.rubbish), scores)
        return Outcome(F.cross_entropy(scores, targets, label_smoothing=self.config.label_smoothing), scores)


def lenet_map_loss(scores: Tensor, targets: Tensor, rubbish: float) -> Tensor:
    """Equation 9 of LeCun et al. 1998: mean of y_target + log(e^-j + sum_i e^-y_i), y the penalties, j the rubbish.

    scores: (N, K), the negative penalties. It is cross-entropy with one more class, "none of these", whose penalty is
    the constant j: it stops the penalties of classes that are far away already from being pushed further.
    """
    none = scores.new_full((len(scores), 1), -rubbish)
    return F.cross_entropy(torch.cat((scores, none), dim=1), targets)
