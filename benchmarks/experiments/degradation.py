"""Plain networks get worse with depth, on the training images too; residual networks do not.

He et al. 2015, Figure 1 and Figure 6 (CIFAR-10): plain-56 has a higher training and test error than plain-20, while
ResNet-56 has a lower one than ResNet-20.

python -m benchmarks.experiments.degradation [--quick] [--data cifar10]
"""

from collections.abc import Sequence

from benchmarks.experiments.common import Claim, draw_curves, read_options, tell_errors, train_variants
from lenext.run import read_metrics


def main(words: Sequence[str] | None = None) -> list[str]:
    options = read_options(__doc__ or "", "degradation", words, epochs=20, quick_epochs=3)
    deep = 32 if options.quick else 56
    names = [f"{kind}{depth}" for kind in ("plain", "resnet") for depth in (20, deep)]
    runs = train_variants(options, {name: [f"model={name}", "recipe=resnet_cifar"] for name in names})
    curves = {
        name: (range(1, options.epochs + 1), [[1 - e["train_accuracy"] for e in read_metrics(run)] for run in own])
        for name, own in runs.items()
    }
    draw_curves(options, {"epoch": curves}, vertical="training error")
    claims = [
        Claim(f"plain{deep} is worse than plain20", "plain20", f"plain{deep}"),
        Claim(f"resnet{deep} is better than plain{deep}", f"resnet{deep}", f"plain{deep}"),
        Claim(f"resnet{deep} is better than resnet20", f"resnet{deep}", "resnet20"),
    ]
    return tell_errors(options, runs, claims)


if __name__ == "__main__":
    main()
