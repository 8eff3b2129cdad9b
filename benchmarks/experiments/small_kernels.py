"""Three 3x3 convolutions are better than the one 7x7 that sees as much, with nearly half of its weights.

Simonyan and Zisserman 2014, section 2.3: 27 C^2 weights in place of 49 C^2, and three nonlinearities in place of
one; section 4.1: a network whose pairs of 3x3 are replaced by one 5x5 has a top-1 error 7 points higher. Here: three
groups of C, 2C and 4C channels with a max pool behind each, batch normalisation behind each convolution.

python -m benchmarks.experiments.small_kernels [--quick] [--data cifar10]
"""

from collections.abc import Sequence

from torch import nn

from benchmarks.experiments.common import Claim, read_options, tell
from benchmarks.experiments.own_networks import fit
from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.parts import named_chain, pooled_linear

KERNELS = {"7x7": (7,), "5x5, 3x3": (5, 3), "3x3, 3x3, 3x3": (3, 3, 3)}  # each sees 7 pixels a side


class Groups(Classifier):
    """Each group's convolutions have `kernels`; width: channels of the first."""

    def __init__(self, kernels: Sequence[int], width: int, channels: int, num_classes: int) -> None:
        super().__init__(NetworkConfig(num_classes=num_classes, in_channels=channels, input_size=32, min_size=8))
        self.stem = nn.Identity()
        groups = []
        for i in range(3):
            layers: list[tuple[str, nn.Module]] = []
            for j, kernel in enumerate(kernels):
                conv = nn.Conv2d(channels, width * 2**i, kernel, padding=kernel // 2, bias=False)
                layers += [(f"conv{j}", conv), (f"bn{j}", nn.BatchNorm2d(width * 2**i)), (f"relu{j}", nn.ReLU())]
                channels = width * 2**i
            groups.append((f"group{i}", named_chain([*layers, ("pool", nn.MaxPool2d(2, ceil_mode=True))])))
        self.stages = named_chain(groups)
        self.head = pooled_linear(channels, num_classes)


def main(words: Sequence[str] | None = None) -> list[str]:
    options = read_options(__doc__ or "", "small_kernels", words, epochs=10)
    width, groups = 8 if options.quick else 32, {}
    for name, kernels in KERNELS.items():
        groups[name] = []
        for seed in range(options.seeds):
            fitted = fit(options, lambda c, n, k=kernels: Groups(k, width, c, n), seed, ["recipe=one_cycle"])
            groups[name].append(fitted.validation_error)
            print(f"{name}, seed {seed}: {fitted.params:,} parameters, {100 * fitted.validation_error:.2f} %")
    *larger, smallest = KERNELS
    claims = [Claim(f"{smallest} is better than {name}", smallest, name) for name in larger]
    return tell(options, groups, claims, label="validation error")


if __name__ == "__main__":
    main()
