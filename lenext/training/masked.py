"""FCMAE: a ConvNeXt V2 learns without labels, by painting what was hidden from it.

Woo et al. 2023, arXiv 2301.00808, section 3.1. A share of the patches is hidden, the network computes the map of the
others alone, a small decoder says what the hidden ones hold. The paper computes with sparse convolutions; here the
hidden places are set to zero wherever a neighbour would look, which gives the same values and saves no time.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lenext.errors import UsageError
from lenext.models.classifier import Classifier
from lenext.models.convnext import Block
from lenext.models.convnextv2 import ConvNeXtV2

EPS = 1e-6  # added to the variance of a patch


def require_maskable(classifier: Classifier) -> ConvNeXtV2:
    """Return the network as one that can be trained so; any other is a UsageError."""
    if not isinstance(classifier, ConvNeXtV2):
        raise UsageError(
            "cannot train this network with the loss 'fcmae'",
            why="the paper masks ConvNeXt V2, and only that one leaves no trace of what is hidden here",
            advice="--model convnextv2_atto, or convnextv2_atto_small",
        )
    return classifier


def patch_side(network: ConvNeXtV2) -> int:
    """Pixels that one place of the last map stands for, and so of a patch that is hidden: 32 in the paper."""
    halvings = len(network.config.repeats) - 1
    return network.config.patch << halvings


def visible_patches(images: Tensor, side: int, hidden: float) -> Tensor:
    """Draw what each image shows: (N, 1, H / side, W / side), 1 where a patch is seen, 0 where it is hidden.

    Every image hides as many, `hidden` of them, rounded up. Sides that hold no whole number of patches, and fewer than
    one patch left to see, are a UsageError.
    """
    height, width = images.shape[2:]
    rows, columns = height // side, width // side
    shown = int(rows * columns * (1 - hidden))
    if height % side or width % side or shown == 0:
        raise UsageError(
            f"cannot hide {hidden:.0%} of the patches of {height} x {width} pixels",
            why=f"patches are of {side} x {side} pixels: {rows * columns} whole ones, {shown} to be seen",
            advice=f"--size {4 * side}, or --set network.patch=1 for a network of small images",
        )
    ranks = torch.rand(len(images), rows * columns, device=images.device).argsort(1).argsort(1)
    return (ranks < shown).to(images.dtype).view(-1, 1, rows, columns)


def encode_visible(network: ConvNeXtV2, images: Tensor, visible: Tensor) -> Tensor:
    """Return the last stage's map, (N, C, h, w), as the visible patches make it; zero where `visible` (N, 1, h, w) is.

    Drop path is left out, as in the paper's pre-training.
    """

    def seen(x: Tensor) -> Tensor:
        return x * F.interpolate(visible, x.shape[2:], mode="nearest").to(x.dtype)

    x = seen(network.stem(images))
    for stage in network.stages:
        for layer in stage.children():
            x = seen(_masked_block(layer, x, visible) if isinstance(layer, Block) else layer(x))
    return x


def _masked_block(block: Block, x: Tensor, visible: Tensor) -> Tensor:
    """The block on visible places: hidden ones are zero before the response normalisation sums over the map."""
    mask = F.interpolate(visible, x.shape[2:], mode="nearest").to(x.dtype)
    y = x
    for name, layer in block.branch.named_children():
        if name != "drop_path":
            y = layer(y * mask if name == "grn" else y)
    return x + y


class MaskedDecoder(nn.Module):
    """What paints the hidden patches: one block of `width` channels between two 1x1 convolutions (section 3.1)."""

    def __init__(self, network: ConvNeXtV2, width: int) -> None:
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


def masked_loss(network: ConvNeXtV2, decoder: MaskedDecoder, images: Tensor, hidden: float) -> Tensor:
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
