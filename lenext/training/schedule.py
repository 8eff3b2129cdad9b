"""Learning-rate schedules: pure functions of the step."""

import math

from lenext.training.config import ScheduleConfig, TrainingConfig


def learning_rate(config: TrainingConfig, scale: float, step: int, total: int) -> float:
    """Return the rate of the update after `step` of `total`; scale is plateau's factor so far."""
    return config.optimizer.rate * scale * rate_factor(config.schedule, step, total)


def rate_factor(config: ScheduleConfig, step: int, total: int) -> float:
    """Return the factor of the peak rate for the update after `step` of `total` updates, 0 <= step < total.

    plateau's own factor depends on what validation showed and is kept in the training progress; here it is 1.
    """
    warm = config.warmup * total
    if config.name == "one_cycle":
        return _one_cycle(config, step, warm, total)
    if step < warm:
        return min((step + 1) / warm, 1.0)  # warm is seldom a whole number
    if config.name == "cosine":
        return _cosine(1.0, config.end, (step - warm) / max(total - warm, 1))
    if config.name == "step":
        return _step(config, step, total)
    return 1.0


def _step(config: ScheduleConfig, step: int, total: int) -> float:
    factors = config.factors * len(config.milestones) if len(config.factors) == 1 else config.factors
    passed = [f for milestone, f in zip(config.milestones, factors, strict=True) if step >= round(milestone * total)]
    return math.prod(passed)


def _one_cycle(config: ScheduleConfig, step: int, warm: float, total: int) -> float:
    """Smith & Topin 2017 with cosine flanks, as torch.optim.lr_scheduler.OneCycleLR draws it."""
    peak = max(warm - 1, 0)
    if step <= peak and peak > 0:
        return _cosine(config.start, 1.0, step / peak)
    return _cosine(1.0, config.end, (step - peak) / max(total - 1 - peak, 1))


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(part, 1.0))) / 2
