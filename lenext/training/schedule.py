"""Schedules: pure functions of the step, and of the epoch where a shape follows from them."""

import math

from lenext.training.config import ProgressionConfig, ScheduleConfig, TrainingConfig

_ROUNDING = 1e-9  # of an update: 3 * (0.1 * 100) is not 30


def learning_rate(config: TrainingConfig, scale: float, step: int, total: int) -> float:
    """Return the rate of the update after `step` of `total`; scale is plateau's factor so far."""
    return config.optimizer.rate * scale * rate_factor(config.schedule, step, total)


def rate_factor(config: ScheduleConfig, step: int, total: int) -> float:
    """Return the factor of the peak rate for the update after `step` of `total` updates, 0 <= step < total.

    plateau's own factor depends on what validation showed and is kept in the training progress; here it is 1.
    """
    unit = total / config.length
    warm = config.warmup * unit
    if config.name == "one_cycle":
        return _one_cycle(config, step, warm, total)
    if step < warm:
        return min((step + 1) / warm, 1.0)  # warm is seldom a whole number
    if config.name == "cosine":
        return _cosine(1.0, config.end, _part_of_cycle(config, step - warm, max(total - warm, 1), unit))
    if config.name == "polynomial":
        left = 1 - (step - warm) / max(total - warm, 1)
        return config.end + (1 - config.end) * math.pow(left, config.power)
    if config.name == "exponential":
        times = step / (config.every * unit)
        return math.pow(config.factor, times if config.smooth else math.floor(times + _ROUNDING))
    if config.name == "step":
        return _step(config, step, unit)
    return 1.0


def stage_value(config: ProgressionConfig, limits: tuple[float, float], epoch: int, epochs: int) -> float:
    """The value in `epoch`, from 0, of what rises from the first of `limits` to the second; the last epoch has that."""
    stages = min(config.stages, epochs)
    stage = min(epoch, epochs - 1) * stages // epochs
    return limits[0] + (limits[1] - limits[0]) * (stage / (stages - 1) if stages > 1 else 1.0)


def _step(config: ScheduleConfig, step: int, unit: float) -> float:
    factors = config.factors * len(config.milestones) if len(config.factors) == 1 else config.factors
    passed = [f for milestone, f in zip(config.milestones, factors, strict=True) if step >= round(milestone * unit)]
    return math.prod(passed)


def _part_of_cycle(config: ScheduleConfig, done: float, whole: float, unit: float) -> float:
    """How much of the cosine under way is done: of the only one, or of one of many (Loshchilov & Hutter 2016)."""
    if not config.cycle:
        return done / whole
    cycle = config.cycle * unit
    while done + _ROUNDING >= cycle:
        done, cycle = max(done - cycle, 0.0), cycle * config.growth
    return done / cycle


def _one_cycle(config: ScheduleConfig, step: int, warm: float, total: int) -> float:
    """Smith & Topin 2017 with cosine flanks, as torch.optim.lr_scheduler.OneCycleLR draws it."""
    peak = max(warm - 1, 0)
    if step <= peak and peak > 0:
        return _cosine(config.start, 1.0, step / peak)
    return _cosine(1.0, config.end, (step - peak) / max(total - 1 - peak, 1))


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(part, 1.0))) / 2
