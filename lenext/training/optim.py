"""Optimisers, their groups, and their state by parameter name."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lenext.training.config import OptimizerConfig


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Build the optimiser; with `decay_on` "weights", tensors of one dimension (bias, norm) are not decayed."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if config.decay_on == "weights":
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
    else:
        groups = [{"params": parameters, "weight_decay": config.decay}]
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=config.rate, betas=(config.betas[0], config.betas[1]), eps=config.eps)
    return torch.optim.SGD(groups, lr=config.rate, momentum=config.momentum, nesterov=config.nesterov)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimiser's state as tensors named "buffer/parameter", for a checkpoint."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{buffer}/{names[parameter]}": value
        for parameter, state in optimizer.state.items()
        for buffer, value in state.items()
        if isinstance(value, Tensor)
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned, in the memory format of the parameters."""
    parameters = dict(model.named_parameters())
    for key, value in tensors.items():
        buffer, _, name = key.partition("/")
        parameter = parameters[name]
        if value.shape == parameter.shape:
            value = torch.empty_like(parameter, requires_grad=False).copy_(value)
        optimizer.state[parameter][buffer] = value
