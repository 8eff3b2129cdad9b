"""The speed plan of a run: updates are timed on a copy before the first one, and the fastest way is taken.

Precision is a rule on the hardware (lenext.device). Threads, memory format and the images of one pass are varied one
after the other, each in turn with the best so far, on the whole batch where there is time for that. Compiling takes
minutes, so it is tried last, and only in runs that are long enough to gain from it.
"""

import copy
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from lenext.data.batches import Batch
from lenext.device import SpeedPlan, candidate_plans, has_compiler, keep_memory, threads
from lenext.errors import UsageError
from lenext.models.classifier import Classifier
from lenext.training.config import TrainingConfig
from lenext.training.finetune import set_training_mode
from lenext.training.loop import forward, pieces
from lenext.training.objective import Objective

LEAST_SECONDS, SHARE = 5.0, 0.02  # what timing may take: seconds, or that part of the run, whichever is more
MOST = 0.25  # of a run that is shorter than that
FEWEST = 4  # images of a timed pass, at least: fewer go through other kernels
PASSES = 3  # timed of each plan, after one that warms up, and of the best so far
ROUNDS = 6  # plans that there may be to try: by these the images of a pass are made to fit the time
GAIN = 0.03  # a plan must be faster by as much to be taken: less is noise
COMPILED_GAIN = 0.15  # of a run's time, that compiling is expected to win before it is tried (ResNet-50: 0.2)
COMPILED_SECONDS = 1.0  # that compiling one layer takes, forward and backward
PAYS = 3  # times its cost: what compiling must be expected to win


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A plan, and how it was found.

    tried: seconds an image of each plan that was timed, forward and backward, as if all had been timed when the first
    was. spent: seconds that choosing took.
    """

    plan: SpeedPlan
    tried: tuple[tuple[SpeedPlan, float], ...] = ()
    spent: float = 0.0


def choose_plan(objective: Objective, batch: Batch, config: TrainingConfig, updates: int) -> Choice:
    """Find the fastest plan of `updates` updates on such batches; the objective and torch's generator stay as they are.

    What `config` fixes is not varied. Where it fixes the threads, nothing is timed, and the rest is as usual. Parts of
    a batch whose images change each other's results are a UsageError.
    """
    start, plans = time.perf_counter(), candidate_plans(config.precision, config.threads)
    usual = dataclasses.replace(
        plans[0],
        channels_last=config.memory_format == "channels_last" or (plans[0].channels_last and _is_open(config)),
        micro_batch=config.micro_batch if config.micro_batch < config.batch_size else 0,
        compiled=config.compile == "always",
    )
    if config.threads and not usual.micro_batch:
        return Choice(plan=usual)
    twin = copy.deepcopy(objective)
    set_training_mode(twin, twin.classifier, config.freeze)
    if usual.micro_batch and uses_batch_statistics(twin):
        raise UsageError(
            f"cannot pass {config.micro_batch} images at a time",
            why="batch normalisation looks at the whole batch, and parts of it would change the result",
            advice="--set training.micro_batch=0, or a smaller training.batch_size and training.accumulate",
        )
    if config.threads:
        return Choice(plan=usual)
    with torch.random.fork_rng():
        trials = _Trials(twin, batch, dataclasses.replace(usual, compiled=False), updates)
        for change in _changes(twin, plans, config):
            trials.try_out(change(trials.best))
        if config.compile == "auto" and _may_compile(objective, config) and trials.compiling_pays():
            trials.try_compiled()
    plan = dataclasses.replace(trials.best, compiled=trials.best.compiled or usual.compiled)
    return Choice(plan=plan, tried=tuple(trials.seconds.items()), spent=time.perf_counter() - start)


def follow_plan(objective: Objective, plan: SpeedPlan) -> None:
    """Bring the objective where the plan has it, its filters in the order of the images, and have it compiled at its
    first call where the plan says so.
    """
    keep_memory()
    objective.to(plan.device)
    if plan.channels_last:
        objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # which torch's stub leaves out
    if plan.compiled:
        objective.compile(dynamic=False)


def in_order(network: Classifier) -> Classifier:
    """A copy whose filters lie as a checkpoint has them, so that it is judged to the bits of whoever loads one."""
    copied: Classifier = copy.deepcopy(network).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return copied


def uses_batch_statistics(module: nn.Module) -> bool:
    """Whether the images of a batch change each other's results: a normalisation in training mode looks at all."""
    return any(isinstance(one, nn.modules.batchnorm._BatchNorm) and one.training for one in module.modules())


class _Trials:
    """Plans timed on a copy of an objective, in training mode, the fastest of them, and what of the time is left."""

    def __init__(self, twin: Objective, batch: Batch, plan: SpeedPlan, updates: int) -> None:
        self.best, self.seconds = plan, dict[SpeedPlan, float]()
        self._origin, self._twins = twin, dict[tuple[bool, bool], Objective]()
        self._batch, self._start = batch, time.perf_counter()
        few = _part(batch, FEWEST)
        self._pass(plan, few)  # warms up
        self._usual = self._pass(plan, few) / len(few.targets)
        self.run_seconds = self._usual * len(batch.targets) * updates
        self._limit = min(max(LEAST_SECONDS, SHARE * self.run_seconds), MOST * self.run_seconds)
        affordable = int(self._limit / (ROUNDS * (1 + 2 * PASSES) * self._usual))
        self._sample = _part(batch, max(affordable, FEWEST))
        self.seconds[plan] = self._usual

    def try_out(self, plan: SpeedPlan) -> None:
        """Time a plan where there is time left for it, and take it where it is faster."""
        images = len(self._sample.targets)
        expected = (1 + 2 * PASSES) * images * self.seconds[self.best]
        in_time = time.perf_counter() - self._start + expected < self._limit
        if in_time and plan not in self.seconds and plan.micro_batch < images:
            self._judge(plan, self._sample)

    def compiling_pays(self) -> bool:
        """Whether what compiling is expected to win is worth trying it."""
        layers = sum(not list(module.children()) for module in self._origin.modules())
        expected = COMPILED_GAIN * self.run_seconds * self.seconds[self.best] / self._usual
        return expected > PAYS * COMPILED_SECONDS * layers

    def try_compiled(self) -> None:
        """Compile for the whole batch; where that fails for any reason of torch's or the compiler's, do without."""
        plan = dataclasses.replace(self.best, compiled=True)
        try:
            self._judge(plan, self._batch)
        except Exception:  # of a broken compiler, of what cannot be traced: a list of its kinds would never be whole
            self.seconds[plan] = float("inf")

    def _judge(self, plan: SpeedPlan, sample: Batch) -> None:
        """Time the plan and the best so far in turn: a machine that others use, too, is now faster and now slower."""
        self._pass(plan, sample)  # warms up
        turns = [(self._pass(plan, sample), self._pass(self.best, sample)) for _ in range(PASSES)]
        typical = statistics.median(its / best for its, best in turns)
        ratio = max(typical, min(its for its, _ in turns) / min(best for _, best in turns))  # noise seldom favours both
        self.seconds[plan] = ratio * self.seconds[self.best]
        if ratio < 1 - GAIN:
            self.best = plan

    def _pass(self, plan: SpeedPlan, sample: Batch) -> float:
        kind = (plan.channels_last, plan.compiled)
        if kind not in self._twins:
            self._twins[kind] = copy.deepcopy(self._origin)
            follow_plan(self._twins[kind], plan)
        with threads(plan.threads):
            start = time.perf_counter()
            for piece in pieces(sample, plan.micro_batch):
                forward(self._twins[kind], piece, plan)[0].loss.backward()
            if plan.device == "cuda":
                torch.cuda.synchronize()
            return time.perf_counter() - start


def _changes(
    twin: Objective, plans: list[SpeedPlan], config: TrainingConfig
) -> Iterator[Callable[[SpeedPlan], SpeedPlan]]:
    """What else to try on a processor, in the order in which it usually gains."""
    if plans[0].device != "cpu":
        return
    for plan in plans[1:]:
        yield partial(dataclasses.replace, threads=plan.threads)
    if _is_open(config):
        yield partial(dataclasses.replace, channels_last=not plans[0].channels_last)
    if config.micro_batch == 0 and not uses_batch_statistics(twin):
        for parts in (2, 4, 8):
            if config.batch_size % parts == 0 and config.batch_size // parts >= FEWEST:
                yield partial(dataclasses.replace, micro_batch=config.batch_size // parts)


def _is_open(config: TrainingConfig) -> bool:
    """Whether maps and filters may lie in either order: L-BFGS strings gradients together, which one alone allows."""
    return config.memory_format == "auto" and not config.optimizer.is_second_order


def _may_compile(objective: Objective, config: TrainingConfig) -> bool:
    """Not without a compiler, nor where the network changes from step to step, which would have it compiled again."""
    grows = config.progression.size is not None or config.progression.dropout is not None
    steady = config.drop_path == "constant" and not grows and objective.decoder is None
    return steady and (torch.cuda.is_available() or has_compiler())


def _part(batch: Batch, count: int) -> Batch:
    return Batch(batch.images[:count], batch.targets[:count], batch.samples[:count])
