import copy
import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from lenext.data.batches import Batch, eval_batches
from lenext.data.preprocessing import Preprocessing, preprocess, statistics
from lenext.data.published import open_published
from lenext.data.store import Subset
from lenext.errors import DataError, UsageError
from lenext.evaluation.scoring import describe_prediction, score_batches, score_images, score_store
from lenext.models.catalog import build
from lenext.models.classifier import Classifier
from lenext.models.init import initialise
from lenext.predictions import softmax

N = 29  # one more than a multiple of 7 and of 4


@pytest.fixture(scope="module")
def store() -> Subset:
    return Subset(open_published("digits").open("test"), np.arange(N))


def preprocessing_for(size: int) -> Preprocessing:
    mean, std = statistics([list(open_published("digits").open("train").images)])
    return Preprocessing(size=(size, size), channels=1, mean=mean, std=std)


def trained(name: str, size: int, rate: float) -> Classifier:
    """A network after 32 steps on real digits: its scores are spread, its batch norms hold real statistics."""
    model = build(name, num_classes=10, in_channels=1)
    initialise(model, "he_normal", seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    batches = list(
        eval_batches(Subset(open_published("digits").open("train"), np.arange(512)), preprocessing_for(size), 64)
    )
    for batch in batches * 4:
        optimizer.zero_grad()
        F.cross_entropy(model(batch.images), batch.targets).backward()
        optimizer.step()
    return model


@pytest.fixture(scope="module", params=["resnet20", "lenet5"])
def case(request: pytest.FixtureRequest) -> tuple[Classifier, Preprocessing]:
    size, rate = {"resnet20": (8, 0.1), "lenet5": (32, 0.01)}[request.param]
    return trained(request.param, size, rate), preprocessing_for(size)


def probabilities_of(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    assert scores.dtype == np.float32
    assert scores.shape == (N, 10)
    return softmax(scores)


def test_scores_are_those_of_the_network_in_evaluation_mode(
    case: tuple[Classifier, Preprocessing], store: Subset
) -> None:
    model, preprocessing = case
    oracle = copy.deepcopy(model).eval().double()
    with torch.no_grad():
        expected = oracle(preprocess(store.read(np.arange(N)), preprocessing).double()).numpy()
    found = score_store(model, store, preprocessing)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    accuracy = (found.argmax(axis=1) == store.labels).mean()
    assert accuracy > 0.6  # the network has learnt something: the comparison is of real scores


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_probabilities_do_not_depend_on_the_batch(
    case: tuple[Classifier, Preprocessing], store: Subset, batch_size: int
) -> None:
    model, preprocessing = case
    expected = probabilities_of(score_store(model, store, preprocessing, batch_size=N))
    found = probabilities_of(score_store(model, store, preprocessing, batch_size=batch_size))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_images_of_different_sizes_and_channels_are_scored_together(
    case: tuple[Classifier, Preprocessing], store: Subset
) -> None:
    model, preprocessing = case
    small, other = store.read(np.array([0, 1]))
    large = other.repeat_interleave(5, dim=1).repeat_interleave(3, dim=2)  # (1, 40, 24)
    colour = small.expand(3, -1, -1)
    together = score_images(model, preprocess([small, large, colour], preprocessing))
    for row, image in zip(together, [small, large, colour], strict=True):
        np.testing.assert_allclose(
            row, score_images(model, preprocess([image], preprocessing))[0], rtol=1e-5, atol=1e-5
        )


class Net(nn.Module):
    """A small network with a batch norm that the caller has frozen, and with dropout; `fail` breaks its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.BatchNorm2d(1).eval()
        self.live = nn.BatchNorm2d(1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(64, 10)
        self.fail = False
        self.seen: list[tuple[bool, bool, torch.dtype, list[str]]] = []

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.drop(self.live(self.frozen(images))).flatten(1))
        places = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.mkldnn.conv)  # type: ignore[attr-defined]
        precision = [place.fp32_precision for place in places]
        self.seen.append((self.training, scores.requires_grad, scores.dtype, precision))
        if self.fail:
            raise RuntimeError("broken on purpose")
        return scores


def modes(model: nn.Module) -> dict[str, bool]:
    return {name: module.training for name, module in model.named_modules()}


MIXED = {"": True, "frozen": False, "live": True, "drop": True, "head": True}


def test_each_submodule_comes_back_in_its_own_mode(store: Subset) -> None:
    model = Net()
    score_store(model, store, preprocessing_for(8), batch_size=10)
    assert modes(model) == MIXED
    assert [training for training, *_ in model.seen] == [False] * 3


def test_each_submodule_comes_back_in_its_own_mode_after_an_exception(store: Subset) -> None:
    model = Net()
    model.fail = True
    with pytest.raises(RuntimeError, match="on purpose"):
        score_store(model, store, preprocessing_for(8))
    assert modes(model) == MIXED
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_between_two_batches_the_network_is_as_the_caller_left_it(store: Subset) -> None:
    model = Net()
    for _ in score_batches(model, eval_batches(store, preprocessing_for(8), 10)):
        assert modes(model) == MIXED
        assert not torch.is_inference_mode_enabled()


def test_weights_and_statistics_stay_untouched(store: Subset) -> None:
    model = Net()
    before = copy.deepcopy(model.state_dict())
    score_store(model, store, preprocessing_for(8))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_no_gradient_is_recorded(store: Subset) -> None:
    model = Net()
    score_store(model, store, preprocessing_for(8))
    assert [grad for _, grad, *_ in model.seen] == [False]


def test_scores_are_float32_also_inside_the_callers_autocast(store: Subset) -> None:
    model = Net()
    plain = score_store(model, store, preprocessing_for(8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(score_store(model, store, preprocessing_for(8)), plain)
    assert {dtype for *_, dtype, _ in model.seen} == {torch.float32}


@pytest.mark.parametrize("fail", [False, True])
def test_products_are_whole_float32_and_the_process_keeps_its_choice(store: Subset, fail: bool) -> None:
    model = Net()
    model.fail = fail
    convolution = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = convolution.fp32_precision
    assert before == "tf32"  # torch's own default
    try:
        score_store(model, store, preprocessing_for(8))
    except RuntimeError:
        assert fail
    assert [precision for *_, precision in model.seen] == [["ieee"] * 3]
    assert convolution.fp32_precision == before


def test_batches_are_drawn_one_at_a_time(store: Subset) -> None:
    drawn = []

    def counted() -> Iterator[Batch]:
        for batch in eval_batches(store, preprocessing_for(8), 10):
            drawn.append(len(batch.samples))
            yield batch

    scores = score_batches(Net(), counted())
    assert next(scores).shape == (10, 10)
    assert drawn == [10]
    assert [len(rest) for rest in scores] == [10, 9]


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5])
def test_there_is_one_row_for_each_image(n: int) -> None:
    assert score_images(Net(), torch.zeros(n, 1, 8, 8)).shape == (n, 10)


def test_a_network_without_parameters_is_scored_where_its_images_lie() -> None:
    images = torch.rand(3, 1, 2, 2)
    np.testing.assert_array_equal(score_images(nn.Flatten(), images), images.flatten(1).numpy())


def test_no_images_are_refused(store: Subset) -> None:
    with pytest.raises(DataError, match="there are none"):
        score_store(Net(), Subset(store, np.arange(0)), preprocessing_for(8))


def test_a_batch_of_no_images_is_refused(store: Subset) -> None:
    with pytest.raises(UsageError, match="batches of 0"):
        score_store(Net(), store, preprocessing_for(8), batch_size=0)


CLASSES = ("ant", "bee", "cat", "dog", "eel", "fox")


def test_a_prediction_is_described_by_its_likeliest_classes() -> None:
    row = np.log(np.array([0.05, 0.1, 0.4, 0.02, 0.2, 0.23], dtype=np.float32))
    answer = describe_prediction(row, CLASSES)
    assert (answer["class"], answer["index"], answer["probability"]) == ("cat", 2, pytest.approx(0.4))
    assert [entry["class"] for entry in answer["top5"]] == ["cat", "fox", "eel", "bee", "ant"]
    assert [entry["index"] for entry in answer["top5"]] == [2, 5, 4, 1, 0]
    assert [entry["probability"] for entry in answer["top5"]] == pytest.approx([0.4, 0.23, 0.2, 0.1, 0.05])
    assert json.loads(json.dumps(answer)) == answer


def test_of_equally_likely_classes_the_lower_index_comes_first() -> None:
    row = np.tile(np.array([1, 2], dtype=np.float32), 30)  # long enough for an unstable sort to show
    answer = describe_prediction(row, [f"class {k}" for k in range(60)], k=33)
    assert [entry["index"] for entry in answer["top5"]] == [*range(1, 60, 2), 0, 2, 4]


def test_fewer_classes_than_asked_for_are_all_listed() -> None:
    answer = describe_prediction(np.array([1e38, -1e38], dtype=np.float32), ("no", "yes"))
    assert answer["top5"] == [
        {"class": "no", "index": 0, "probability": 1.0},
        {"class": "yes", "index": 1, "probability": 0.0},
    ]


def test_k_says_how_many_classes_are_listed() -> None:
    row = np.arange(6, dtype=np.float32)
    assert [len(describe_prediction(row, CLASSES, k=k)["top5"]) for k in (1, 3, 6)] == [1, 3, 6]


@pytest.mark.parametrize("row", [[1, 2, 3], [[1, 2]], [1, np.nan], [np.inf, 1], []])
def test_scores_that_are_no_answer_are_refused(row: list[float]) -> None:
    with pytest.raises(DataError, match="cannot read this prediction"):
        describe_prediction(np.array(row, dtype=np.float32), ("no", "yes"))


def test_a_prediction_among_no_classes_is_refused() -> None:
    with pytest.raises(DataError, match="for 0 classes"):
        describe_prediction(np.zeros(0, dtype=np.float32), ())
