"""What each regulariser and normaliser is worth: with it and without it, everything else the same.

Dropout of AlexNet's two wide layers (Krizhevsky et al. 2012, section 4.2: without it "substantial overfitting"),
crops and mirroring (He et al. 2015, section 4.2), response normalisation (Krizhevsky et al. 2012, section 3.3: 13
against 11 % on CIFAR-10; Simonyan and Zisserman 2014, Table 3: no gain), batch normalisation (Ioffe and Szegedy 2015,
Figure 2), and its batch: the statistics of few images are noisy (Wu and He 2018, Figure 1: at 2 images an error
higher by ten points), the rate following the batch.

python -m benchmarks.experiments.ablations [--quick] [--data cifar10] [--only batch_norm]
"""

import sys
from collections.abc import Sequence

from benchmarks.experiments.common import Claim, measured, read_options, tell, train_variants, validation_error

RESNET = ("model=resnet20", "recipe=resnet_cifar")
VGG = ("model=vgg11_small", "recipe=one_cycle", "training.optimizer.rate=0.02")
ALEXNET = ("model=alexnet_small", "recipe=one_cycle", "training.optimizer.rate=0.02")
WIDE_LAYERS = ("network.head=fc", "network.last_map=1", "augment.flip=false", "augment.pad=0")
ABLATIONS: dict[str, dict[str, Sequence[str]]] = {
    # the first is said to be better than each of the others
    "dropout": {
        "dropout-0.5": (*ALEXNET, *WIDE_LAYERS, "network.dropout=0.5"),
        "no-dropout": (*ALEXNET, *WIDE_LAYERS, "network.dropout=0.0"),
    },
    "augmentation": {
        "crops+mirroring": RESNET,
        "crops": (*RESNET, "augment.flip=false"),
        "none": (*RESNET, "augment.flip=false", "augment.pad=0"),
    },
    "response_norm": {"LRN": (*ALEXNET, "network.norm=paper"), "no-LRN": (*ALEXNET, "network.norm=none")},
    "batch_norm": {"BN": (*VGG, "network.batch_norm=true"), "no-BN": (*VGG, "network.batch_norm=false")},
    "bn_batch": {
        f"batch-{size}": (*RESNET, f"training.batch_size={size}", f"training.optimizer.rate={0.1 * size / 128}")
        for size in (128, 16, 4, 2)
    },
}
SMALL = {"response_norm", "batch_norm", "bn_batch"}  # of the quick form


def main(words: Sequence[str] | None = None) -> list[str]:
    words = list(sys.argv[1:] if words is None else words)
    only = words.pop(words.index("--only") + 1) if "--only" in words else ""
    words = [word for word in words if word != "--only"]
    options = read_options(__doc__ or "", "ablations", words, epochs=20, quick_epochs=1)
    verdicts = []
    for name, variants in ABLATIONS.items():
        if name == only or (not only and (name in SMALL or not options.quick)):
            few = dict(list(variants.items())[:2]) if options.quick else variants
            groups = measured(train_variants(options, few, part=name), validation_error)
            first, *others = few
            claims = [Claim(f"{first} is better than {other}", first, other) for other in others]
            verdicts += tell(options, groups, claims, label="validation error", stem=name)
    return verdicts


if __name__ == "__main__":
    main()
