"""Optimisers, their groups, and their state by parameter name."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lenext.errors import UsageError
from lenext.training.config import OptimizerConfig
from lenext.training.finetune import require_place


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Build the optimiser, a group for each factor of the rate and each decay; frozen parameters are in none.

    With `decay_on` "weights", tensors of one dimension (bias, norm) are not decayed. `scale` of a group is its factor.
    """
    for place in config.rates:
        require_place(model, place)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decayed = config.decay_on == "all" or parameter.ndim > 1
            key = (_factor(name, config.rates), config.decay if decayed else 0.0)
            groups.setdefault(key, []).append(parameter)
    if not groups:
        raise UsageError("cannot train", why="every parameter is frozen", advice="freeze fewer places")
    told = [
        {"params": parameters, "weight_decay": decay, "scale": scale, "lr": config.rate * scale}
        for (scale, decay), parameters in groups.items()
    ]
    if config.name == "adamw":
        return torch.optim.AdamW(told, lr=config.rate, betas=(config.betas[0], config.betas[1]), eps=config.eps)
    return torch.optim.SGD(told, lr=config.rate, momentum=config.momentum, nesterov=config.nesterov)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group: `rate` times the group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


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


def _factor(name: str, rates: Mapping[str, float]) -> float:
    fitting = [place for place in rates if name == place or name.startswith(f"{place}.")]
    return rates[max(fitting, key=len)] if fitting else 1.0
