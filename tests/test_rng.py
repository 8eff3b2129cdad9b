"""The random numbers: fixed for ever, independent, and even. Bounds are some four standard errors at fixed seeds."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch

from lenext import rng

MANY = np.arange(100_000, dtype=np.int64)


def test_numbers_are_the_ones_that_past_runs_drew() -> None:
    drawn = rng.uniform(0, 0, np.arange(3), "crop", draws=2)
    assert drawn.tolist() == [
        [0.3079969933788972, 0.6681379994921007],
        [0.46971267093698676, 0.18491442325966445],
        [0.44313837432481007, 0.3686226705939354],
    ]
    assert rng.uniform(1, 2, np.array([10**9]), "flip").tolist() == [[0.6187551126466619]]
    assert rng.integers(0, 0, np.arange(8), "crop", 9)[:, 0].tolist() == [2, 4, 3, 0, 4, 5, 4, 8]
    assert rng.permutation(0, 0, 10, "plan").tolist() == [0, 3, 5, 7, 2, 4, 1, 8, 9, 6]
    rng.seed_network(0, 0)
    assert torch.initial_seed() == 7553031768780577301


def test_words_are_those_of_splitmix64() -> None:
    """Oracle: the first outputs of SplitMix64 for seed 1234567, as listed at rosettacode.org."""
    counter = np.uint64(0x9E3779B97F4A7C15) * np.arange(1, 4, dtype=np.uint64) + np.uint64(1234567)
    assert rng._mix(counter).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_a_sample_draws_the_same_whoever_is_with_it() -> None:
    together = rng.uniform(7, 3, MANY[:50], "crop", draws=4)
    alone = np.concatenate([rng.uniform(7, 3, np.array([sample]), "crop", draws=4) for sample in range(50)])
    backwards = rng.uniform(7, 3, MANY[:50][::-1], "crop", draws=4)[::-1]
    assert np.array_equal(together, alone)
    assert np.array_equal(together, backwards)


def test_further_draws_do_not_change_the_first() -> None:
    assert np.array_equal(rng.uniform(7, 3, MANY[:50], "crop", 5)[:, :2], rng.uniform(7, 3, MANY[:50], "crop", 2))


def test_uniform_has_the_mean_and_variance_of_its_distribution() -> None:
    drawn = rng.uniform(1, 1, MANY, "test")
    assert drawn.shape == (len(MANY), 1)
    assert drawn.dtype == np.float64
    assert 0 <= drawn.min() < drawn.max() < 1
    assert abs(drawn.mean() - 1 / 2) < 4 * np.sqrt(1 / 12 / len(MANY))
    assert abs(drawn.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / len(MANY))


def test_normal_has_the_moments_and_quantiles_of_its_distribution() -> None:
    """Oracle: the first four moments 0, 1, 0, 3, and the distribution function of statistics.NormalDist."""
    drawn = rng.normal(1, 1, MANY, "test", draws=2)
    assert drawn.shape == (len(MANY), 2)
    assert abs((drawn[:, 0] * drawn[:, 1]).mean()) < 4 / np.sqrt(len(MANY))
    values = drawn.flatten()
    n = len(values)
    for power, expected, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs((values**power).mean() - expected) < 4 * np.sqrt(variance / n)
    for point in (-3, -2, -1, -0.3, 0, 0.5, 1.5, 2.5, 3.5):
        share = NormalDist().cdf(point)
        assert abs((values < point).mean() - share) < 4 * np.sqrt(share * (1 - share) / n)


def test_normal_numbers_belong_to_their_sample_and_place() -> None:
    together = rng.normal(7, 3, MANY[:50], "noise", draws=4)
    alone = np.concatenate([rng.normal(7, 3, np.array([sample]), "noise", draws=4) for sample in range(50)])
    assert np.array_equal(together, alone)
    assert np.array_equal(together[:, :2], rng.normal(7, 3, MANY[:50], "noise", draws=2))


def test_normal_numbers_are_those_of_box_and_muller() -> None:
    """Hand arithmetic on the two numbers that "crop" draws for sample 0, listed above."""
    expected = math.sqrt(-2 * math.log(1 - 0.3079969933788972)) * math.cos(2 * math.pi * 0.6681379994921007)
    assert rng.normal(0, 0, np.array([0]), "crop").tolist() == [[pytest.approx(expected, rel=1e-12)]]


@pytest.mark.parametrize("high", [2, 9, 100])
def test_integers_are_evenly_spread(high: int) -> None:
    counts = np.bincount(rng.integers(2, 1, MANY, "test", high)[:, 0], minlength=high)
    assert len(counts) == high
    expected = len(MANY) / high
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_square - (high - 1)) < 4 * np.sqrt(2 * (high - 1))


def test_pairs_of_draws_fill_the_square_evenly() -> None:
    cells = np.floor(rng.uniform(3, 1, MANY, "test", draws=2) * 10).astype(int)
    counts = np.bincount(cells[:, 0] * 10 + cells[:, 1], minlength=100)
    chi_square = ((counts - 1000.0) ** 2 / 1000).sum()
    assert abs(chi_square - 99) < 4 * np.sqrt(2 * 99)


@pytest.mark.parametrize(
    ("seed", "epoch", "stream", "shift"),
    [(1, 0, "crop", 0), (0, 1, "crop", 0), (0, 0, "flip", 0), (0, 0, "crop", 1), (2**40, 0, "crop", 0)],
    ids=["seed", "epoch", "stream", "next sample", "large seed"],
)
def test_seeds_epochs_streams_and_samples_are_uncorrelated(seed: int, epoch: int, stream: str, shift: int) -> None:
    one = rng.uniform(0, 0, MANY, "crop")[:, 0]
    other = rng.uniform(seed, epoch, MANY + shift, stream)[:, 0]
    assert not np.array_equal(one, other)
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(len(MANY))


def test_integers_reach_no_further_than_a_float_can_count() -> None:
    samples = MANY[:10]
    assert rng.integers(0, 0, samples, "test", 1).max() == 0
    assert rng.integers(0, 0, samples, "test", 2**53).max() < 2**53
    for high in (0, -1, 2**53 + 1):
        with pytest.raises(ValueError, match="high"):
            rng.integers(0, 0, samples, "test", high)


def test_permutation_holds_each_number_once_and_leaves_about_one_in_place() -> None:
    orders = [rng.permutation(0, epoch, 1000, "plan") for epoch in range(100)]
    assert all(np.array_equal(np.sort(order), np.arange(1000)) for order in orders)
    in_place = np.mean([(order == np.arange(1000)).sum() for order in orders])
    assert abs(in_place - 1) < 4 / np.sqrt(100)  # a random permutation has one fixed point on average, variance one
    assert not np.array_equal(orders[0], orders[1])


def test_permutation_of_nothing_is_empty() -> None:
    assert rng.permutation(0, 0, 0, "plan").shape == (0,)


def test_numpy_seeds_draw_what_python_seeds_draw() -> None:
    assert np.array_equal(rng.uniform(np.int64(3), np.int64(2), MANY[:5], "a"), rng.uniform(3, 2, MANY[:5], "a"))  # type: ignore[arg-type]


def test_network_noise_depends_on_seed_step_micro_step_and_rank() -> None:
    places = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    noise = []
    with torch.random.fork_rng(devices=[]):
        for place in places:
            rng.seed_network(*place)
            noise.append(torch.rand(4).tolist())
        rng.seed_network(*places[0])
        assert torch.rand(4).tolist() == noise[0]
    assert len({tuple(row) for row in noise}) == len(places)
