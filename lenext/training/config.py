"""What training is told; a recipe file fills these in. Imports no torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The update rule.

    rate: peak learning rate. rates: factors of it by place, {"stem": 0.1, "stages.conv2_x": 0.3}; the longest name
    that fits counts. decay: L2 penalty, for adamw decoupled decay. decay_on: "all" parameters, as the papers before
    2017 did, or "weights" only (no bias, no norm). momentum: sgd and both kinds of rmsprop. betas: adam, adamw.
    eps: of what divides by a root. alpha: what rmsprop's mean of squares keeps at each update, "decay" in the
    papers. rmsprop_tf is TensorFlow's, which the papers from Google used (`lenext.training.optim.RMSPropTF`). lbfgs
    and bfgs make `iterations` steps, each with a line search, on the batches of one update: for the whole data or
    large parts. history: pairs that lbfgs remembers; bfgs forgets none, for as many updates as its memory may take.
    """

    name: Literal["sgd", "adagrad", "rmsprop", "rmsprop_tf", "adam", "adamw", "lbfgs", "bfgs"] = "sgd"
    rate: float = 0.1
    rates: Mapping[str, float] = field(default_factory=dict)
    momentum: float = 0.9
    nesterov: bool = False
    decay: float = 0.0
    decay_on: Literal["all", "weights"] = "all"
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    alpha: float = 0.9
    iterations: int = 20
    history: int = 100

    def __post_init__(self) -> None:
        _require(0 <= self.rate < math.inf, "rate is finite and not negative", self.rate)
        for place, factor in self.rates.items():
            _require(0 <= factor < math.inf, f"the factor of {place} is finite and not negative", factor)
        _require(0 <= self.momentum < 1, "0 <= momentum < 1", self.momentum)
        _require(0 <= self.decay < math.inf, "decay is finite and not negative", self.decay)
        _require(all(0 <= beta < 1 for beta in self.betas), "0 <= betas < 1", self.betas)
        _require(0 <= self.eps < math.inf, "eps is finite and not negative", self.eps)
        _require(self.momentum > 0 or not self.nesterov, "nesterov needs a momentum above 0", self.momentum)
        _require(0 <= self.alpha < 1, "0 <= alpha < 1", self.alpha)
        for name in ("iterations", "history"):
            _require(getattr(self, name) >= 1, f"{name} is at least 1", getattr(self, name))
        if self.is_second_order:  # one curvature for all parameters
            _require(not self.rates, f"{self.name} has one rate for all places", dict(self.rates))
            _require(self.decay == 0, f"{self.name} takes no decay", self.decay)

    @property
    def is_second_order(self) -> bool:
        """Whether it remembers curvature, over all parameters strung together."""
        return self.name in ("lbfgs", "bfgs")


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The learning rate over the run, as a factor of the peak.

    length: of the whole run in the unit in which warmup, milestones, every and cycle are told: 1 where they are parts
    of it, 90 for epochs of a run of 90, 64000 for its updates. A shorter or longer run stretches them with it.
    warmup: linear for all but one_cycle, whose ascent it is. milestones: after which the rate is multiplied by
    `factors` (one for all, or one each). every: exponential; the rate is multiplied by `factor` after each of so many,
    all at once, or where it is `smooth` little by little. factor, patience, threshold: plateau; the rate is multiplied
    by `factor` after `patience` epochs without a validation loss lower by `threshold` of itself. cycle: cosine begins
    again after so many, each time after `growth` times as many; 0 for once. power: polynomial. start: one_cycle's first
    factor. end: last factor of cosine, one_cycle and polynomial.
    """

    name: Literal["constant", "step", "exponential", "plateau", "cosine", "polynomial", "one_cycle"] = "constant"
    length: float = 1.0
    warmup: float = 0.0
    milestones: tuple[float, ...] = ()
    factors: tuple[float, ...] = (0.1,)
    factor: float = 0.1
    every: float = 1.0
    smooth: bool = False
    patience: int = 5
    threshold: float = 1e-4
    cycle: float = 0.0
    growth: float = 1.0
    power: float = 1.0
    start: float = 0.04
    end: float = 0.0

    def __post_init__(self) -> None:
        length = self.length
        _require(0 < length < math.inf, "length is finite and above 0", length)
        _require(0 <= self.warmup < length, f"warmup is a part of the run, 0 <= warmup < {length:g}", self.warmup)
        within = all(0 <= m <= length for m in self.milestones)
        _require(within, f"milestones lie in the run, 0 to {length:g}", self.milestones)
        count = len(self.milestones)
        _require(len(self.factors) in (1, count), f"{count} milestones take 1 factor or as many", self.factors)
        for name, value in (("factor", self.factor), ("start", self.start), ("end", self.end)):
            _require(0 <= value <= 1, f"0 <= {name} <= 1", value)
        _require(all(0 <= f < math.inf for f in self.factors), "factors are finite and not negative", self.factors)
        _require(self.patience >= 0, "patience is not negative", self.patience)
        _require(0 <= self.threshold < 1, "0 <= threshold < 1", self.threshold)
        _require(0 < self.every < math.inf, "every is finite and above 0", self.every)
        _require(0 <= self.cycle <= length, f"0 <= cycle <= {length:g}", self.cycle)
        _require(1 <= self.growth < math.inf, "growth is finite and at least 1", self.growth)
        _require(0 < self.power < math.inf, "power is finite and above 0", self.power)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What is minimised.

    cross_entropy: of softmax, with label smoothing (Szegedy et al. 2015, section 7); of each class's own sigmoid where
    an image may have several. lenet_map: equation 9 of LeCun et al. 1998 on scores that are negative distances;
    `rubbish` is its constant j, a penalty of the class "none". class_weights: "balanced" weighs a class by n / (K n_k),
    so that each of K classes counts alike; where an image may have several, its positives by their odds. auxiliary:
    weight of the losses of the network's auxiliary heads, where it has any (0.3: Szegedy et al. 2014, section 5).
    fcmae: no labels; a share `hidden` of the patches is painted by a decoder of `decoder` channels (Woo et al. 2023,
    section 3.1). Nothing is validated then, and the last weights are for `--weights` to begin from.
    """

    name: Literal["cross_entropy", "lenet_map", "fcmae"] = "cross_entropy"
    label_smoothing: float = 0.0
    rubbish: float = 1.0
    class_weights: Literal["none", "balanced"] = "none"
    auxiliary: float = 0.3
    hidden: float = 0.6
    decoder: int = 512

    def __post_init__(self) -> None:
        _require(0 < self.hidden < 1, "0 < hidden < 1", self.hidden)
        _require(self.decoder >= 1, "decoder is at least 1", self.decoder)
        _require(self.uses_labels or self.class_weights == "none", "fcmae weighs no classes", self.class_weights)
        _require(0 <= self.auxiliary < math.inf, "auxiliary is finite and not negative", self.auxiliary)
        _require(0 <= self.label_smoothing <= 1, "0 <= label_smoothing <= 1", self.label_smoothing)
        _require(math.isfinite(self.rubbish), "rubbish is finite", self.rubbish)

    @property
    def uses_labels(self) -> bool:
        """Whether it is the classes that are learnt."""
        return self.name != "fcmae"


@dataclass(frozen=True, kw_only=True)
class ProgressionConfig:
    """What grows over the run, in `stages` of as many epochs each (Tan & Le 2021, arXiv:2104.00298, section 4.2).

    Each pair is the value of the first stage and of the last; those between lie evenly. size: of the training images,
    in parts of the run's, at which validation stays. dropout: of the network's head. strength: of augment.randaugment.
    mixup: alpha of augment.mixup.
    """

    stages: int = 1
    size: tuple[float, float] | None = None
    dropout: tuple[float, float] | None = None
    strength: tuple[float, float] | None = None
    mixup: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        _require(self.stages >= 1, "stages is at least 1", self.stages)
        _require(all(0 < part <= 1 for part in self.size or ()), "sizes are parts of the run's, above 0", self.size)
        _require(self.size is None or self.size[0] <= self.size[1], "sizes do not fall", self.size)
        _require(all(0 <= rate < 1 for rate in self.dropout or ()), "0 <= dropout < 1", self.dropout)
        _require(all(0 <= s <= 10 for s in self.strength or ()), "strengths are 0 to 10", self.strength)
        _require(all(0 <= a < math.inf for a in self.mixup or ()), "alphas are finite, not negative", self.mixup)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One training run: how long, how, from which initial weights.

    steps: updates of the whole run, 0 for those that the epochs hold. accumulate: batches whose gradients one update
    averages. sampling: "balanced" shows every class equally often, the rarer ones' images repeatedly. init: a method
    of lenext.models.init. freeze: places that are not trained, and whose norms stay in evaluation mode. average: decay
    of the running average of the weights that is judged and kept, 0 for none. clip: gradient norm above which gradients
    are scaled down, 0 for never. drop_path: the network's own rates from the beginning, or rising to them from 0 over
    the run. patience: epochs without a better validation score after which training ends, 0 for
    never. precision: "auto" is bf16 where the hardware multiplies it, else float32. threads: of the CPU; 0 to measure,
    before the first step, how this machine trains fastest, which then decides what is left open of memory_format (of
    images), micro_batch (images of one forward and backward pass, 0 for open; only where no image of a batch changes
    another's result) and compile (by torch's compiler). save_seconds: the longest training that a crash can cost.
    """

    epochs: int = 1
    steps: int = 0
    batch_size: int = 128
    accumulate: int = 1
    sampling: Literal["uniform", "balanced"] = "uniform"
    init: str = "torch"
    freeze: tuple[str, ...] = ()
    average: float = 0.0
    drop_path: Literal["constant", "rising"] = "constant"
    patience: int = 0
    precision: Literal["auto", "float32", "bf16"] = "auto"
    threads: int = 0
    memory_format: Literal["auto", "channels_last", "contiguous"] = "auto"
    micro_batch: int = 0
    compile: Literal["auto", "always", "never"] = "auto"
    clip: float = 0.0
    save_seconds: float = 60.0
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    progression: ProgressionConfig = field(default_factory=ProgressionConfig)

    def __post_init__(self) -> None:
        strung = self.optimizer.is_second_order and self.memory_format == "channels_last"
        _require(not strung, "lbfgs and bfgs take filters in order", self.memory_format)
        _require(0 <= self.average < 1, "0 <= average < 1", self.average)
        for name in ("epochs", "batch_size", "accumulate"):
            _require(getattr(self, name) >= 1, f"{name} is at least 1", getattr(self, name))
        for name in ("steps", "patience", "threads", "micro_batch", "clip", "save_seconds"):
            _require(getattr(self, name) >= 0, f"{name} is not negative", getattr(self, name))


def _require(holds: bool, rule: str, value: object) -> None:
    """Refuse a value; `lenext.config.from_mapping` adds the table's name and makes it a UsageError."""
    if not holds:
        raise TypeError(f"{rule}, and this is {value}")
