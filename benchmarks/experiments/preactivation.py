"""Normalisation and ReLU before the convolutions train better at depth than behind the addition.

He et al. 2016, Table 2 and Table 3 (CIFAR-10): with full pre-activation ResNet-110 goes from 6.61 to 6.37 % test
error, and the gain grows with depth (Figure 6: the training loss of 1001 layers).

python -m benchmarks.experiments.preactivation [--quick] [--data cifar10]
"""

from collections.abc import Sequence

from benchmarks.experiments.common import Claim, read_options, tell_errors, train_variants


def main(words: Sequence[str] | None = None) -> list[str]:
    options = read_options(__doc__ or "", "preactivation", words, epochs=20)
    depth = 20 if options.quick else 110
    before, behind = f"preact_resnet{depth}", f"resnet{depth}"
    runs = train_variants(options, {name: [f"model={name}", "recipe=resnet_cifar"] for name in (before, behind)})
    claims = [Claim("pre-activation is better", before, behind)]
    return tell_errors(options, runs, claims)


if __name__ == "__main__":
    main()
