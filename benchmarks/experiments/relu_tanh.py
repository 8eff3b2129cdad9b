"""ReLU reaches a training error of 25 % in fewer epochs than tanh.

Krizhevsky, Sutskever and Hinton 2012, section 3.1, Figure 1: a network of four convolutions on CIFAR-10, without
regularisation, gets there six times faster with ReLU, the rates of both chosen so that training is as fast as
possible. Here: LeNet's two convolutions, of 32 and 64 channels as theirs, with max pooling; of each activation, the
rate that is fastest on average counts.

python -m benchmarks.experiments.relu_tanh [--quick] [--data cifar10]
"""

import statistics
from collections.abc import Sequence

from benchmarks.experiments.common import (
    Claim,
    draw_curves,
    epochs_to_training_error,
    measured,
    read_options,
    tell,
    train_variants,
)
from lenext.run import read_metrics

RATES = (0.01, 0.03, 0.1)
QUICK_RATES = (0.01, 0.03)
INIT = {"relu": "he_normal", "tanh": "xavier_uniform"}  # as each was derived for
ERROR = 0.25


def main(words: Sequence[str] | None = None) -> list[str]:
    options = read_options(__doc__ or "", "relu_tanh", words, epochs=20, quick_epochs=4)
    kinds, rates = list(INIT), QUICK_RATES if options.quick else RATES
    wide = ["network.channels=[32, 64]", "network.hidden=[256, 128]", "network.pooling=max"]
    start = ["model=lenet5_dense", "recipe=d2l", *wide, "training.optimizer.momentum=0.9"]
    variants = {
        f"{kind}-{rate}": [
            *start, f"network.activation={kind}", f"training.init={INIT[kind]}", f"training.optimizer.rate={rate}",
        ]
        for kind in kinds
        for rate in rates
    }  # fmt: skip
    runs = train_variants(options, variants)
    found = measured(runs, lambda run: epochs_to_training_error(run, ERROR))
    fastest = {}
    for kind in kinds:
        own = [name for name in found if name.startswith(kind) and found[name]]
        fastest[kind] = min(own, key=lambda name: statistics.fmean(found[name]), default=f"{kind}-{rates[0]}")
    errors = {
        kind: (
            range(1, options.epochs + 1),
            [[1 - line["train_accuracy"] for line in read_metrics(run)] for run in runs[name]],
        )
        for kind, name in fastest.items()
    }
    draw_curves(options, {"epoch": errors}, vertical="training error")
    groups = {name: found[name] for name in fastest.values()}
    print(f"a run that never has {ERROR:.0%} training error counts as {options.epochs} epochs")
    return tell(
        options,
        groups,
        [Claim("ReLU is faster than tanh", fastest["relu"], fastest["tanh"])],
        label=f"epochs to {ERROR:.0%} training error",
        percent=False,
    )


if __name__ == "__main__":
    main()
