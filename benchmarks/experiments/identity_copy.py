"""A deeper plain network that copies a trained shallower one has its training error; training does not find one as
good.

He et al. 2015, section 1: a shallower network with identity layers behind its own is a deeper one with the same
training error, so a deeper network need not be worse, and yet trained plain ones are. The copy's new blocks are
identities: convolutions that hand each channel on, behind a ReLU, so that nothing is negative.

python -m benchmarks.experiments.identity_copy [--quick] [--data cifar10]
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from benchmarks.experiments.common import Claim, measured, read_options, stores_of, tell, train_variants
from lenext import checkpoint as checkpoints
from lenext.experiment.answers import predict_store
from lenext.judge.metrics import measure
from lenext.models.catalog import build
from lenext.models.classifier import Classifier
from lenext.models.resnet import BasicBlock


def deepen(shallow: Classifier, repeats: tuple[int, int, int]) -> Classifier:
    """A plain network of `repeats` blocks a stage, those of the trained one followed by identities."""
    changes = {"num_classes": shallow.config.num_classes, "in_channels": shallow.config.in_channels}
    deep = build("plain20", repeats=repeats, **changes)
    deep.load_state_dict(shallow.state_dict(), strict=False)
    for name, block in deep.named_modules():
        if isinstance(block, BasicBlock) and name not in dict(shallow.named_modules()):
            for conv, norm in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
                nn.init.dirac_(conv.weight)
                norm.reset_running_stats()
                nn.init.constant_(norm.weight, (1 + norm.eps) ** 0.5)  # undoes the division in evaluation
                nn.init.zeros_(norm.bias)
    return deep.eval()


def error_on_training_images(run: Path, repeats: tuple[int, int, int] | None = None, root: str = "") -> float:
    """Of the run's chosen network as it is, or deepened; images without augmentation."""
    loaded = checkpoints.load(checkpoints.find_folder(run))
    network: Classifier = checkpoints.restore(loaded)
    with torch.no_grad():
        network = deepen(network, repeats) if repeats else network
    return 1 - measure(predict_store(network, stores_of(run, root)["train"], loaded.card, "train")).score


def main(words: Sequence[str] | None = None) -> list[str]:
    options = read_options(__doc__ or "", "identity_copy", words, epochs=20, quick_epochs=4)
    few, many = ((1, 1, 1), (2, 2, 2)) if options.quick else ((3, 3, 3), (9, 9, 9))
    shallow, deep = f"plain{6 * few[0] + 2}-trained", f"plain{6 * many[0] + 2}-trained"
    variants = {name: ["model=plain20", f"network.repeats={list(n)}"] for name, n in ((shallow, few), (deep, many))}
    runs = train_variants(options, variants)
    groups = measured(runs, lambda run: error_on_training_images(run, root=options.root))
    copied = f"plain{6 * many[0] + 2}-copied-from-plain{6 * few[0] + 2}"
    groups[copied] = [error_on_training_images(run, many, options.root) for run in runs[shallow]]
    same = "the same" if groups[copied] == groups[shallow] else "NOT THE SAME"
    print(f"training error of the copy, run by run: {same} as of what it copies")
    return tell(
        options, groups, [Claim("the copy is better than what training finds", copied, deep)], label="training error"
    )


if __name__ == "__main__":
    main()
