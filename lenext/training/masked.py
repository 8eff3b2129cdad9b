"""FCMAE: a ConvNeXt learns without labels, by painting what was hidden from it.

Woo et al. 2023, arXiv 2301.00808, section 3.1. A share of the patches is hidden, the network computes the map of the
others alone, a small decoder says what the hidden ones hold. The paper computes with sparse convolutions; here the
hidden places are set to zero wherever a neighbour would look, which gives the same values and saves no time.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lenext.errors import UsageError
from lenext.models.classifier import Classifier
from lenext.models.convnext import Block, ConvNeXt

EPS = 1e-6  # added to the variance of a patch


def require_maskable(classifier: Classifier) -> ConvNeXt:
    """Return the network as one that can be trained so; any other is a UsageError."""
    if not isinstance(classifier, ConvNeXt):
        raise UsageError(
            "cannot train this network with the loss 'fcmae'",
            why="only ConvNeXt and ConvNeXt V2 are masked here",
            advice="--model convnextv2_atto, or convnextv2_atto_small",
        )
    return classifier


def patch_side(network: ConvNeXt) -> int:
    """Pixels that one place of the last map stands for, and so of a patch that is hidden: 32 in the paper."""
    halvings = len(network.config.repeats) - 1
    return network.config.patch << halvings


def count_visible(height: int, width: int, side: int, hidden: float) -> int:
    """How many patches of an image are seen: as the release rounds, at least `hidden` of them are not.

    Sides that hold no whole number of patches, and none left to be seen, are a UsageError.
    """
    whole = (height // side) * (width // side)
    shown = int(whole * (1 - hidden))
    if height % side or width % side or shown == 0:
        raise UsageError(
            f"cannot hide {hidden:.0%} of the patches of {height} x {width} pixels",
            why=f"patches are of {side} x {side} pixels: {whole} whole ones, {shown} to be seen",
            advice=f"--size {side * max(-(-height // side), 2)}, or fewer hidden: --set training.loss.hidden=0.5",
        )
    return shown


def visible_patches(images: Tensor, side: int, hidden: float) -> Tensor:
    """Draw what each image shows: (N, 1, H / side, W / side), 1 where a patch is seen, 0 where it is hidden."""
    (height, width), count = images.shape[2:], len(images)
    shown = count_visible(height, width, side, hidden)
    rows, columns = height // side, width // side
    ranks = torch.rand(count, rows * columns, device=images.device).argsort(1).argsort(1)
    return (ranks < shown).to(images.dtype).view(count, 1, rows, columns)


def encode_visible(network: ConvNeXt, images: Tensor, visible: Tensor) -> Tensor:
    """Return the last stage's map, (N, C, h, w), as visible patches make it; zero where `visible`, (N, 1, h, w), is."""

    def at(x: Tensor) -> Tensor:
        """What is visible, in places of x's size."""
        return F.interpolate(visible, x.shape[2:], mode="nearest").to(x.dtype)

    x: Tensor = network.stem(images)
    mask = at(x)
    x = x * mask
    for stage in network.stages:
        for layer in stage.children():
            if isinstance(layer, Block):
                x = layer.forward_visible(x, mask)
            else:
                x = layer(x)
                mask = at(x)
            x = x * mask
    return x


class MaskedDecoder(nn.Module):
    """What paints the hidden patches: one block of `width` channels between two 1x1 convolutions (section 3.1)."""

    def __init__(self, network: ConvNeXt, width: int) -> None:
        super().__init__()
        config = network.config
        channels, pixels = config.width * 2 ** (len(config.repeats) - 1), patch_side(network) ** 2
        self.proj = nn.Conv2d(channels, width, 1)
        self.token = _MaskToken(width)
        self.block = network.make_block(width, 0.0)
        self.pred = nn.Conv2d(width, pixels * config.in_channels, 1)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """Map (N, C, h, w) and what is visible, (N, 1, h, w) -> the pixels of every patch, (N, P, h, w)."""
        painted: Tensor = self.pred(self.block(self.token(self.proj(x), visible)))
        return painted


class _MaskToken(nn.Module):
    """Put one learned vector wherever nothing is visible."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.zeros(width, 1, 1))

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """(N, C, h, w) and (N, 1, h, w) -> (N, C, h, w)."""
        filled: Tensor = torch.where(visible > 0, x, self.vector.to(x.dtype))
        return filled

    def fans(self) -> dict[str, tuple[int, int]]:
        """The vector is drawn as a weight is: the release's deviation of 0.02 with `training.init` "convnext"."""
        return {"vector": (len(self.vector), len(self.vector))}


def masked_loss(network: ConvNeXt, decoder: MaskedDecoder, images: Tensor, hidden: float) -> Tensor:
    """The mean squared error over the hidden patches' pixels, each patch's own mean and deviation taken out of it.

    images: (N, C, H, W). hidden: share of the patches. Draws from torch's generator. Returns (), float32.
    """
    side = patch_side(network)
    visible = visible_patches(images, side, hidden)
    painted = decoder(encode_visible(network, images, visible), visible).float()
    pixels = F.pixel_unshuffle(images.float(), side)  # (N, C side^2, h, w): red's pixels, then green's, blue's
    variance, mean = torch.var_mean(pixels, 1, keepdim=True)
    error = (painted - (pixels - mean) / (variance + EPS).sqrt()).square().mean(1, keepdim=True)  # (N, 1, h, w)
    loss: Tensor = (error * (1 - visible)).sum() / (1 - visible).sum()
    return loss
