"""Stochastic depth (Huang et al. 2016, "Deep Networks with Stochastic Depth", arXiv 1603.09382).

The networks of resnet.py for CIFAR, some of whose blocks go without their branch while training: block l of L with the
probability 1 - p_l = l / L * (1 - p_L), linear decay by equation 4, where p_L = 0.5. One draw is for a whole batch, and
what is dropped is not computed, a quarter of the work. With drop_per="image", what later code calls stochastic depth or
drop path, each image draws and all is computed. Any row of resnet.py takes drop_path and drop_per.

Where this and popular code depart from the paper:
  scale       the paper multiplies a branch by p_l when evaluating (equation 5); here, as in torchvision and timm, it is
              divided by p_l while training. The same function, where our last normalisation of the branch has p_l times
              the weight and bias of theirs; but it learns at another rate
  idle steps  the weights of a dropped branch rest; SGD in the authors' release moves them by momentum and decay
  shortcuts   option A takes every second pixel, as in resnet.py; the release averages each 2x2
  biases      the release's convolutions have some, which the normalisation behind them takes away again

A batch's draw is made on the CPU by torch's generator. Evaluating, the network is compiled as one graph and exported
like any other; training by batch it is several graphs, since what runs depends on the draws.
stochdepth_resnet_20 is not in the paper: its 6n+2 layers at n = 3.
"""

from dataclasses import replace

from lenext.models import resnet

# fmt: off
VARIANTS = {
    # Sections 4.1 and 4.2                             layers          1 - p_L        one draw for each
    "stochdepth_resnet_110":  replace(resnet.VARIANTS["resnet110"],  drop_path=0.5, drop_per="batch"),
    "stochdepth_resnet_1202": replace(resnet.VARIANTS["resnet1202"], drop_path=0.5, drop_per="batch"),
    # Not in the paper
    "stochdepth_resnet_20":   replace(resnet.VARIANTS["resnet20"],   drop_path=0.5, drop_per="batch"),
}
# fmt: on

ALIASES: dict[str, str] = {}
