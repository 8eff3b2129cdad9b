"""torchvision's and timm's names of resnet18's tensors, written out from their releases."""

import torch
from torch import Tensor

_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def resnet18_tensors(classes: int = 1000) -> dict[str, Tensor]:
    """A state dict of resnet18 as torchvision 0.28.0 and timm 1.0.31 name it, with random values; 122 tensors."""
    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, Tensor] = {}

    def conv(name: str, width: int, channels: int, kernel: int) -> None:
        tensors[f"{name}.weight"] = torch.randn(width, channels, kernel, kernel, generator=generator) * 0.05

    def norm(name: str, width: int) -> None:
        for tensor in _NORM[:4]:
            tensors[f"{name}.{tensor}"] = torch.rand(width, generator=generator) + 0.5
        tensors[f"{name}.num_batches_tracked"] = torch.tensor(7)

    conv("conv1", 64, 3, 7)
    norm("bn1", 64)
    channels = 64
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            name = f"layer{stage}.{block}"
            conv(f"{name}.conv1", width, channels, 3)
            norm(f"{name}.bn1", width)
            conv(f"{name}.conv2", width, width, 3)
            norm(f"{name}.bn2", width)
            if channels != width:
                conv(f"{name}.downsample.0", width, channels, 1)
                norm(f"{name}.downsample.1", width)
            channels = width
    tensors["fc.weight"] = torch.randn(classes, 512, generator=generator) * 0.05
    tensors["fc.bias"] = torch.randn(classes, generator=generator)
    return tensors
