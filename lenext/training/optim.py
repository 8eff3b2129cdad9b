"""Optimisers, their groups, and their state by parameter name."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

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
    told = [
        {"params": parameters, "weight_decay": decay, "scale": scale, "lr": config.rate * scale}
        for (scale, decay), parameters in groups.items()
    ]
    return _RULES[config.name](told, config)


class RMSPropTF(torch.optim.Optimizer):
    """RMSProp as TensorFlow has it (tf.train.RMSPropOptimizer), and with it the papers from Google.

    mean = alpha mean + (1 - alpha) gradient^2; velocity = momentum velocity + rate gradient / sqrt(mean + eps);
    weight -= velocity. Unlike torch's, eps stands inside the root, where 1.0 or 0.001 is another number than outside;
    the mean begins at 1, not 0; and the rate is inside the velocity, so that a falling rate leaves it as it is.
    """

    def __init__(self, groups: list[dict[str, Any]], *, lr: float, alpha: float, eps: float, momentum: float) -> None:
        super().__init__(groups, {"lr": lr, "alpha": alpha, "eps": eps, "momentum": momentum, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient; a closure makes the gradients first, and its loss is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["mean_square"] = torch.ones_like(parameter)
                    state["velocity"] = torch.zeros_like(parameter)
                gradient = parameter.grad.add(parameter, alpha=group["weight_decay"])
                mean, velocity = state["mean_square"], state["velocity"]
                mean.mul_(group["alpha"]).addcmul_(gradient, gradient, value=1 - group["alpha"])
                root = mean.add(group["eps"]).sqrt_()
                velocity.mul_(group["momentum"]).addcdiv_(gradient, root, value=group["lr"])
                parameter.sub_(velocity)
        return loss


class LBFGS(torch.optim.LBFGS):
    """torch's, of which a copy works too: torch's own leaves two of its attributes behind."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._params = self.param_groups[0]["params"]
        self._numel_cache = None


def _lbfgs(told: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    """L-BFGS with a line search for the strong Wolfe conditions (Nocedal & Wright 2006, algorithms 3.5 and 7.4).

    "bfgs" is the same recursion over every pair since the beginning. Its first matrix is scaled anew at each update,
    as in L-BFGS, where a dense inverse is scaled once at most; a dense one would take the square of the parameters.
    All line searches of an update share torch's budget of 1.25 evaluations an iteration: with few iterations it may end
    an update early.
    """
    history = config.history if config.name == "lbfgs" else EVERY_PAIR
    search = "strong_wolfe"
    return LBFGS(told, lr=config.rate, max_iter=config.iterations, history_size=history, line_search_fn=search)


_Rule = Callable[[list[dict[str, Any]], OptimizerConfig], torch.optim.Optimizer]
EVERY_PAIR = 1_000_000  # more than any run makes
_LISTS = ("old_dirs", "old_stps", "ro")  # of L-BFGS: an entry for each pair

# fmt: off
_RULES: Mapping[str, _Rule] = {
    "sgd": lambda told, c: torch.optim.SGD(told, lr=c.rate, momentum=c.momentum, nesterov=c.nesterov),
    "adagrad": lambda told, c: torch.optim.Adagrad(told, lr=c.rate, eps=c.eps),
    "rmsprop": lambda told, c: torch.optim.RMSprop(told, lr=c.rate, alpha=c.alpha, eps=c.eps, momentum=c.momentum),
    "rmsprop_tf": lambda told, c: RMSPropTF(told, lr=c.rate, alpha=c.alpha, eps=c.eps, momentum=c.momentum),
    "adam": lambda told, c: torch.optim.Adam(told, lr=c.rate, betas=(c.betas[0], c.betas[1]), eps=c.eps),
    "adamw": lambda told, c: torch.optim.AdamW(told, lr=c.rate, betas=(c.betas[0], c.betas[1]), eps=c.eps),
    "lbfgs": _lbfgs,
    "bfgs": _lbfgs,
}
# fmt: on


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group: `rate` times the group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def follow_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Bring what state there is to where the parameters now lie: Adagrad makes its own before they move."""
    for parameter, state in optimizer.state.items():
        for buffer, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[buffer] = value.to(parameter.device)


def state_copies(config: OptimizerConfig, steps: int) -> int:
    """How many numbers the optimiser keeps of each trained weight, at most, in a run of so many updates."""
    made = steps * config.iterations
    pairs = {"lbfgs": min(config.history, made), "bfgs": made}.get(config.name)
    if pairs is not None:
        return 2 * pairs + 3  # and the direction, the last gradient, the place where the line search began
    own = {"sgd": 0, "adagrad": 1, "rmsprop": 1, "rmsprop_tf": 2, "adam": 2, "adamw": 2}[config.name]
    return own + (config.name in ("sgd", "rmsprop") and config.momentum > 0)


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimiser's state as tensors named "buffer/parameter", for a checkpoint.

    L-BFGS keeps one state for all parameters, under the first, with lists, which are stacked, and numbers, which become
    float64 or int64 of no dimension.
    """
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    found = {}
    for parameter, state in optimizer.state.items():
        for buffer, value in state.items():
            if isinstance(value, Tensor):
                found[f"{buffer}/{names[parameter]}"] = value
            elif buffer in _LISTS and value:
                found[f"{buffer}/{names[parameter]}"] = torch.stack(value)
            elif isinstance(value, int | float):
                kind = torch.int64 if isinstance(value, int) else torch.float64
                found[f"{buffer}/{names[parameter]}"] = torch.tensor(value, dtype=kind)
    return found


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned, in the memory format of the parameters."""
    parameters = dict(model.named_parameters())
    for key, value in tensors.items():
        buffer, _, name = key.partition("/")
        parameter = parameters[name]
        if isinstance(optimizer, torch.optim.LBFGS):
            optimizer.state[parameter][buffer] = _of_lbfgs(buffer, value, parameter.device)
        elif value.shape == parameter.shape:
            optimizer.state[parameter][buffer] = torch.empty_like(parameter, requires_grad=False).copy_(value)
        else:
            optimizer.state[parameter][buffer] = value
    if isinstance(optimizer, torch.optim.LBFGS):
        for state in optimizer.state.values():
            for buffer in _LISTS:
                state.setdefault(buffer, [])


def _of_lbfgs(buffer: str, value: Tensor, device: torch.device) -> Tensor | list[Tensor] | int | float:
    """A value of its state as torch keeps it, in memory of its own: sums of a view may be rounded otherwise."""
    if buffer in _LISTS:
        return [row.to(device, copy=True) for row in value]
    if value.ndim == 0 and value.dtype in (torch.int64, torch.float64):
        return value.item()
    return value.to(device, copy=True)


def _factor(name: str, rates: Mapping[str, float]) -> float:
    fitting = [place for place in rates if name == place or name.startswith(f"{place}.")]
    return rates[max(fitting, key=len)] if fitting else 1.0
