"""DenseNet-BC has the error of a ResNet with a fraction of its parameters.

Huang et al. 2016, Figure 4 (CIFAR-10, augmented): DenseNet-BC takes about a third of the parameters of a pre-
activation ResNet for the same error; 0.8 M (100 layers, k = 12) match ResNet-1001 with 10.2 M.

python -m benchmarks.experiments.densenet_parameters [--quick] [--data cifar10]
"""

from collections.abc import Sequence

from benchmarks.experiments.common import Claim, measured, read_options, tell, train_variants, validation_error
from lenext.reporting.tables import count
from lenext.run import load_run

DENSE, LARGER = "densenet_bc_cifar_L40_k12", "preact_resnet20"


def main(words: Sequence[str] | None = None) -> list[str]:
    options = read_options(__doc__ or "", "densenet_parameters", words, epochs=20, quick_epochs=1)
    runs = train_variants(options, {name: [f"model={name}", "recipe=resnet_cifar"] for name in (DENSE, LARGER)})
    called = {name: f"{name}, {count(load_run(own[0])['params'])}" if own else name for name, own in runs.items()}
    groups = {called[name]: values for name, values in measured(runs, validation_error).items()}
    claims = [Claim(f"{DENSE} is better than the larger {LARGER}", called[DENSE], called[LARGER])]
    return tell(options, groups, claims, label="validation error, parameters")


if __name__ == "__main__":
    main()
