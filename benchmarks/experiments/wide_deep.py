"""At about as many parameters a wide residual network is as good as a thin deep one, and trains faster.

Zagoruyko and Komodakis 2016, Table 4 (CIFAR): WRN-16-4 (2.8 M parameters) and WRN-40-2 (2.2 M), WRN-16-8 (11.0 M)
and WRN-40-4 (8.9 M); section 3 and Figure 4: wide and shallow networks compute the same in much less time.

python -m benchmarks.experiments.wide_deep [--quick] [--data cifar10]
"""

from collections.abc import Sequence

from benchmarks.experiments.common import Claim, read_options, tell_error_and_time, train_variants

WIDE, DEEP = "wrn_16_4", "wrn_40_2"


def main(words: Sequence[str] | None = None) -> list[str]:
    options = read_options(__doc__ or "", "wide_deep", words, epochs=10, quick_epochs=1)
    runs = train_variants(options, {name: [f"model={name}", "recipe=resnet_cifar"] for name in (WIDE, DEEP)})
    better, faster = Claim("wide is better", WIDE, DEEP), Claim("wide is faster", WIDE, DEEP)
    return tell_error_and_time(options, runs, better, faster)


if __name__ == "__main__":
    main()
