"""The peers: torchvision's and timm's networks with random weights, biases and statistics, in evaluation mode."""

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import nn

PEER_OPTIONS = {
    "googlenet": {"aux_logits": True, "init_weights": False},
    "inception_v3": {"aux_logits": True, "init_weights": False},
}


@contextlib.contextmanager
def torchvision_importable() -> Iterator[None]:
    """Let torchvision's wheel import beside a torch that lacks its compiled operators, which no network here uses."""
    register = torch.library.register_fake
    torch.library.register_fake = lambda *_, **__: lambda function: function
    try:
        yield
    finally:
        torch.library.register_fake = register


def make_peer(source: str, name: str) -> nn.Module:
    """Build the peer called `name` in "torchvision" or "timm"; its weights are its own first ones."""
    with torchvision_importable():  # timm imports it as well
        import timm
        import torchvision
    peer: nn.Module
    if source == "timm":
        peer = timm.create_model(name, pretrained=False)
    else:
        peer = torchvision.models.get_model(name, weights=None, **PEER_OPTIONS.get(name, {}))
    return peer


@torch.no_grad()
def randomise(peer: nn.Module, seed: int) -> None:
    """Draw every weight, bias and statistic, so that no two channels do the same and scores stay near one."""
    generator = torch.Generator().manual_seed(seed)
    for key, value in peer.state_dict().items():
        if not value.is_floating_point():
            continue
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.squeeze().ndim > 1:
            fan_in = value[0].numel()
            value.normal_(0, math.sqrt(2 / fan_in), generator=generator)
        elif key.endswith(("weight", "gamma")):
            value.uniform_(0.5, 1.5, generator=generator)
        else:
            value.normal_(0, 0.1, generator=generator)
