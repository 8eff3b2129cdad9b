"""A ConvNeXt V2 that has painted hidden patches before, without labels, is better where labels are few.

Woo et al. 2023, Table 3: 84.6 % with FCMAE where the same network has 84.3 % without (base, ImageNet-1K). Here a small
one of three stages (patches of 8 pixels, 16 an image): it is trained without labels on all training images, then on
5,000 with their labels; beside it the same network, from drawn weights, on the same 5,000. One pre-training: the seeds
are those of what follows.

python -m benchmarks.experiments.masked_pretraining [--quick] [--data cifar10]
"""

import dataclasses
from collections.abc import Sequence

from benchmarks.experiments.common import Claim, read_options, tell_errors, train_variants

NETWORK = ("model=convnextv2_atto_small", "network.width=24", "network.repeats=[2, 2, 2]")
UNLABELLED = ("recipe=fcmae", "training.accumulate=1", "training.optimizer.rate=0.001", "training.loss.decoder=64")
LABELS = 5000


def main(words: Sequence[str] | None = None) -> list[str]:
    options = read_options(__doc__ or "", "masked_pretraining", words, epochs=20)
    options = dataclasses.replace(options, size=options.size or 32)
    once = dataclasses.replace(options, seeds=1)
    before = train_variants(once, {"without-labels": [*NETWORK, *UNLABELLED]}, part="pre-training")["without-labels"]
    if not before:
        raise SystemExit("the pre-training did not finish: there is nothing to begin from")
    variants = {
        "pre-trained": ["recipe=convnext_short", f"weights={before[0]}"],
        "from-nothing": ["recipe=convnext_short", *NETWORK],
    }
    runs = train_variants(options, variants, settings=() if options.quick else (f"data.limit={LABELS}",))
    return tell_errors(options, runs, [Claim("pre-training helps", "pre-trained", "from-nothing")])


if __name__ == "__main__":
    main()
