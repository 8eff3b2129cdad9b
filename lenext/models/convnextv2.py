"""ConvNeXt V2 (Woo et al. 2023, "ConvNeXt V2: Co-designing and Scaling ConvNets with Masked Autoencoders", 2301.00808).

ConvNeXt with one change inside the block (Figure 5): global response normalisation behind the GELU, and no scale at the
end of the branch. Where popular code departs:
  small         timm has a convnextv2_small; the paper and the authors' release have none
  accuracy      published after masked pre-training (FCMAE), which is no part of the network
  drop path     0.1, tiny 0.2: the authors' commands print atto's, tiny's and base's, the other sizes have base's here
  square root   of the sum of squares alone, as in Algorithm 1; the authors' JAX listing adds eps below the root too
  *_small       not in the paper: atto with patches of 2x2, as convnext_tiny_small: 3.4 million parameters and a
                twelfth of the arithmetic of resnet18_small, for a machine of two cores
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lenext.models.convnext import Block, ConvNeXt, ConvNeXtConfig


@dataclass(frozen=True, kw_only=True)
class ConvNeXtV2Config(ConvNeXtConfig):
    """As in V1: stage i has `repeats[i]` blocks of `width * 2**i` channels."""


# fmt: off
VARIANTS = {
    #                                    repeats                width       drop_path
    "convnextv2_atto":  ConvNeXtV2Config(repeats=(2, 2, 6, 2),  width=40,  drop_path=0.1),
    "convnextv2_femto": ConvNeXtV2Config(repeats=(2, 2, 6, 2),  width=48,  drop_path=0.1),
    "convnextv2_pico":  ConvNeXtV2Config(repeats=(2, 2, 6, 2),  width=64,  drop_path=0.1),
    "convnextv2_nano":  ConvNeXtV2Config(repeats=(2, 2, 8, 2),  width=80,  drop_path=0.1),
    "convnextv2_tiny":  ConvNeXtV2Config(repeats=(3, 3, 9, 3),  width=96,  drop_path=0.2),
    "convnextv2_base":  ConvNeXtV2Config(repeats=(3, 3, 27, 3), width=128, drop_path=0.1),
    "convnextv2_large": ConvNeXtV2Config(repeats=(3, 3, 27, 3), width=192, drop_path=0.1),
    "convnextv2_huge":  ConvNeXtV2Config(repeats=(3, 3, 27, 3), width=352, drop_path=0.1),
    # Not in the paper
    "convnextv2_atto_small":
        ConvNeXtV2Config(repeats=(2, 2, 6, 2), width=40, patch=2, num_classes=10, input_size=32, min_size=16),
}
# fmt: on

ALIASES: dict[str, str] = {}


class GlobalResponseNorm(nn.Module):
    """Let each channel grow with its share of the energy of all of them (Algorithm 1).

    x + gamma * x * norm(x) / (mean of the norms + 1e-6) + beta, the norm of a channel being that over its whole map.
    Gamma and beta begin at zero: the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        norms: Tensor = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)  # (N, C, 1, 1)
        return x + self.gamma * (x * (norms / (norms.mean(1, keepdim=True) + 1e-6))) + self.beta

    def first_values(self) -> dict[str, float]:
        """Where the two begin."""
        return {"gamma": 0.0, "beta": 0.0}


class ConvNeXtV2(ConvNeXt):
    """ConvNeXt's stem, stages and head around Figure 5's block."""

    config: ConvNeXtV2Config

    def make_block(self, channels: int, drop_path: float) -> Block:
        """One block of a stage."""
        return Block(channels, drop_path, response=GlobalResponseNorm(4 * channels))
