"""Stateless random numbers: each is a pure function of (seed, epoch, sample, stream, draw).

A number never depends on which other samples are asked for, nor on what was drawn before: workers, ranks, batch size
and the place of a resume change nothing, and there is no state to save. The words are those of SplitMix64 (Steele, Lea
and Flood 2014, "Fast splittable pseudorandom number generators", figure 17), applied to a counter twice: once over the
samples under a key made from (seed, epoch, stream), once over the draws of a sample.
"""

import hashlib

import numpy as np
import numpy.typing as npt
import torch

_GAMMA = np.uint64(0x9E3779B97F4A7C15)  # the odd increment nearest to 2^64 / golden ratio, as published
_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)  # Stafford's variant 13 of the finaliser of MurmurHash3
_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)
_HIGHEST = 1 << 53  # a float64 holds every integer below it


def uniform(
    seed: int, epoch: int, samples: npt.NDArray[np.int64], stream: str, draws: int = 1
) -> npt.NDArray[np.float64]:
    """Return (N, draws) float64 in [0, 1), multiples of 2^-53; row i belongs to samples[i] alone."""
    words = _words(seed, epoch, samples, stream, draws)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def integers(
    seed: int, epoch: int, samples: npt.NDArray[np.int64], stream: str, high: int, draws: int = 1
) -> npt.NDArray[np.int64]:
    """Return (N, draws) int64 in [0, high); the probabilities of two values differ by less than 2^-53."""
    if not 1 <= high <= _HIGHEST:
        raise ValueError(f"high = {high} is not in 1 ... 2^53")
    return np.floor(uniform(seed, epoch, samples, stream, draws) * high).astype(np.int64)


def normal(
    seed: int, epoch: int, samples: npt.NDArray[np.int64], stream: str, draws: int = 1
) -> npt.NDArray[np.float64]:
    """Return (N, draws) float64 of mean 0 and deviation 1; row i belongs to samples[i] alone.

    One of each pair of Box and Muller (1958), "A note on the generation of random normal deviates"; within 8.6 of 0.
    """
    pairs = uniform(seed, epoch, samples, stream, 2 * draws)
    radius = np.sqrt(-2 * np.log1p(-pairs[:, ::2]))  # log of 1 - u, which is never 0
    return np.asarray(radius * np.cos(2 * np.pi * pairs[:, 1::2]), dtype=np.float64)


def permutation(seed: int, epoch: int, n: int, stream: str) -> npt.NDArray[np.int64]:
    """Return (n,) int64, a permutation of 0 ... n - 1.

    The order of n counter-based words, which are all distinct, and not numpy's own shuffle: numpy does not promise the
    same shuffle in its next version.
    """
    words = _words(seed, epoch, np.arange(n, dtype=np.int64), stream, 1)[:, 0]
    return np.argsort(words, kind="stable").astype(np.int64)


def seed_network(seed: int, step: int, micro_step: int = 0, rank: int = 0) -> None:
    """Seed torch's generators for one forward pass (dropout, drop path) from where in the training it stands."""
    torch.manual_seed(network_seed(seed, step, micro_step, rank))


def network_seed(seed: int, step: int, micro_step: int = 0, rank: int = 0) -> int:
    """The seed of one forward pass on one rank; rank -1 is for what all ranks draw alike."""
    return _key("network", seed, step, micro_step, rank) >> 1


def _words(seed: int, epoch: int, samples: npt.NDArray[np.int64], stream: str, draws: int) -> npt.NDArray[np.uint64]:
    """Return (N, draws) uint64; for one draw, distinct samples have distinct words, as each step is a bijection."""
    key = np.array(_key("data", seed, epoch, stream), dtype=np.uint64)
    per_sample = _mix(key + _GAMMA * (np.asarray(samples).astype(np.uint64) + np.uint64(1)))
    counter = _GAMMA * np.arange(1, draws + 1, dtype=np.uint64)
    return _mix(per_sample[:, None] + counter[None, :])


def _mix(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * _MULTIPLIER_1
    z = (z ^ (z >> np.uint64(27))) * _MULTIPLIER_2
    return z ^ (z >> np.uint64(31))


def _key(*parts: int | str) -> int:
    """Return 64 bits that depend on every part; numpy integers count as the numbers that they are."""
    text = "/".join(part if isinstance(part, str) else str(int(part)) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
