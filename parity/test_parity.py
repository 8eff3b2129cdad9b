"""Every network that torchvision or timm has as the same function gives the same scores and the same gradients.

The peer draws random weights, biases and statistics; ours takes them over through the key maps. In float64, batch 4,
at the smallest size at which the last map has 4x4 pixels, scores and the gradient of every parameter agree to 1e-9 of
their largest value; in float32 at the published size, scores to 1e-4. `make parity`.
"""

import pytest
import torch

from lenext.papers import load_papers
from parity.compare import compare, compare_at_native_size, compare_auxiliary, pairs, relative

LARGE = 150_000_000  # parameters: two of these at once would take more memory than a small machine has


def _case(name: str, source: str, peer: str) -> object:
    group = [pytest.mark.xdist_group("large")] if load_papers()[name].params > LARGE else []
    return pytest.param(name, source, peer, id=f"{name}-{source}-{peer}", marks=group)


every_pair = pytest.mark.parametrize(("name", "source", "peer"), [_case(*pair) for pair in pairs()])


@every_pair
def test_scores_and_gradients_are_the_peers(name: str, source: str, peer: str) -> None:
    difference = compare(name, source, peer)
    assert difference.scores < 1e-9
    assert difference.gradients < 1e-9, difference.worst


@every_pair
def test_scores_at_the_published_size_are_the_peers(name: str, source: str, peer: str) -> None:
    assert compare_at_native_size(name, source, peer) < 1e-4


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_scores_are_the_peers(name: str) -> None:
    assert compare_auxiliary(name, "torchvision", name) < 1e-9


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_is_an_infinite_difference(value: float) -> None:
    good, bad = torch.ones(3), torch.tensor([1.0, value, 1.0])
    assert relative(bad, good) == relative(good, bad) == relative(bad, bad) == float("inf")
