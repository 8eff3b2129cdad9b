"""Folded batch norms. Oracles: torch's own folding of one pair, and the unfolded network in float64."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from lenext.exporting.fold import fold_norms
from lenext.models.catalog import build
from lenext.models.classifier import Classifier
from lenext.papers import FAMILIES

from ..models.test_every_family import awake, digits


def lively(model: nn.Module) -> nn.Module:
    """Norms with statistics and gains of their own, as training leaves them."""
    draw = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.2, generator=draw)
            assert module.running_var is not None
            module.running_var.uniform_(0.5, 2.0, generator=draw)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5, draw)
                nn.init.normal_(module.bias, 0, 0.2, draw)
    return model


def largest_difference(model: nn.Module, images: Tensor) -> float:
    """Of folded and unfolded scores in float64."""
    folded = fold_norms(model.double(), images.shape[1:]).model
    with torch.no_grad():
        scores = model.eval()(images.double())
        assert float(scores.std()) > 0
        return float((folded(images.double()) - scores).abs().max())


@pytest.mark.parametrize("bias", [True, False])
def test_one_pair_is_folded_as_torch_folds_it(bias: bool) -> None:
    pair = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, groups=1, bias=bias), nn.BatchNorm2d(5, eps=0.01))
    lively(pair)
    expected = fuse_conv_bn_eval(*copy.deepcopy(pair).eval())
    found = fold_norms(pair, (3, 9, 9)).model
    assert isinstance(found, nn.Sequential)
    torch.testing.assert_close(found[0].weight, expected.weight)
    torch.testing.assert_close(found[0].bias, expected.bias)
    assert isinstance(found[1], nn.Identity)


def test_a_linear_layer_takes_its_norm_in_as_torch_folds_it() -> None:
    pair = lively(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6, affine=False)))
    assert isinstance(pair, nn.Sequential)
    reference = nn.BatchNorm1d(6)  # torch's own folding asks for a gain
    reference.load_state_dict({**reference.state_dict(), **pair[1].state_dict()})
    layer = pair[0]
    assert isinstance(layer, nn.Linear)
    expected = fuse_linear_bn_eval(copy.deepcopy(layer).eval(), reference.eval())
    found = fold_norms(pair, (4,)).model
    assert isinstance(found, nn.Sequential)
    torch.testing.assert_close(found[0].weight, expected.weight)
    torch.testing.assert_close(found[0].bias, expected.bias)


@pytest.mark.parametrize("family", ["resnet", "preact", "densenet", "efficientnet", "amoebanet"])
def test_the_folded_network_is_the_same_function(family: str) -> None:
    model = awake(family)
    images, _ = digits(model)
    assert largest_difference(lively(model), images[:2]) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_folded_network_is_the_same_function_in_every_family(family: str) -> None:
    model = awake(family)
    images, _ = digits(model)
    assert largest_difference(lively(model), images) < 1e-9


def counts(model: Classifier, size: int) -> tuple[int, int]:
    folded = fold_norms(model, (3, size, size))
    left = [name for name, module in folded.model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert sorted(left) == sorted(folded.remaining)
    return len(folded.folded), len(folded.remaining)


def test_what_remains_is_what_the_papers_put_behind_sums_and_concatenations() -> None:
    # He et al. 2015, section 3.3: a norm right behind each convolution: 19, and two projections' shortcuts have none
    assert counts(build("resnet20"), 32) == (19, 0)
    # He et al. 2016: of two norms of each of 9 blocks the first reads a sum, but in the first block the stem's output
    # that its shortcut reads, too, and that the block normalises before both; one more norm before the head
    folded, remaining = counts(build("preact_resnet20"), 32)
    assert (folded, remaining) == (10, 9)
    # Huang et al. 2016: 3 blocks of 6 layers of two norms, 2 transitions, the last norm: only a layer's second follows
    # a convolution alone
    assert counts(build("densenet_bc_cifar_L40_k12"), 32) == (18, 21)


class Odd(nn.Module):
    """Pairs that must not be folded, each for a reason of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.read_twice, self.norm1 = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.run_twice, self.norm2, self.norm3 = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.in_place, self.norm4 = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.standardised, self.norm5 = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.shared, self.norm6 = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.acting, self.norm7 = nn.Conv2d(3, 3, 1), NormAct(3)
        self.of_batch, self.norm8 = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.read_twice(x)
        x = self.norm1(y) + y
        x = self.norm3(self.run_twice(self.norm2(self.run_twice(x))))
        x = self.norm4(F.relu_(self.in_place(x)))
        x = self.norm5(F.conv2d(x, self.standardised.weight / 2, self.standardised.bias))
        x = self.norm6(self.shared(self.norm6(x)))
        y = self.norm7(self.acting(x))
        x = self.norm8(self.of_batch(y))
        return x + 0


class NormAct(nn.BatchNorm2d):
    """A norm that activates as well."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


def test_a_norm_stays_where_its_layer_is_read_twice_run_twice_or_not_itself() -> None:
    model = lively(Odd())
    images = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert fold_norms(model, (3, 4, 4)).folded == ()
    assert largest_difference(model, images) < 1e-12


class Renamed(nn.Module):
    """Modules of two names, and called by the second, by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.first, self.bn = self.conv, self.norm

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(input=self.first(x))
        return out


def test_a_norm_goes_under_every_name_that_it_has() -> None:
    model = lively(Renamed())
    images = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert fold_norms(model, (3, 4, 4)).folded == ("norm",)
    assert largest_difference(model, images) < 1e-12


def test_the_users_network_stays_as_it_is_and_the_copy_learns_nothing() -> None:
    model = build("googlenet", num_classes=4)
    assert len(model.auxiliary)
    model.train()
    model.stem.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = {name: module.training for name, module in model.named_modules()}
    folded = fold_norms(model, (3, 64, 64)).model
    assert {name: module.training for name, module in model.named_modules()} == modes
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert not [name for name in folded.state_dict() if "auxiliary" in name or "running" in name]
