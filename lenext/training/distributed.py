"""Many processes that train one network: each a rank with its share of every batch, the same weights in all.

One order of images serves all ranks: of each batch, rank r of R takes the r-th of R equal parts. What is random about
images belongs to the image, so that one rank and many see the same; dropout and drop path draw by rank. Whole batches
that go without a branch do so on all ranks. Batch norms see the whole batch. Rank 0 alone writes.
"""

import contextlib
import dataclasses
import datetime
import warnings
from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.nn.parallel import DistributedDataParallel

from lenext.data.batches import Batch
from lenext.device import cores
from lenext.errors import LostRankError, UsageError
from lenext.models.parts import DropPath
from lenext.rng import network_seed, seed_network
from lenext.training.batchnorm import synchronise_norms
from lenext.training.ledger import Ledger, SilenceError
from lenext.training.objective import Objective

_JOINING = 120.0  # seconds at least in which all ranks must have started: they import torch, and read data
Value = TypeVar("Value")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where a process stands among those of one training, as its launcher tells.

    rank of world: of all; local_world: processes on this machine, local_rank of them. address, port: where the store
    is. kept: whether the launcher keeps it, as torchrun does, or rank 0 does. attempt: how often it was restarted.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    address: str = "127.0.0.1"
    port: int = 0
    kept: bool = False
    attempt: int = 0


class Ranks:
    """The processes that train together, seen from one of them; without a place, this process alone."""

    def __init__(self, place: Place = Place(), ledger: Ledger | None = None) -> None:
        self.rank, self.world, self.local_world = place.rank, place.world, place.local_world
        self.ledger = ledger
        self._common = torch.Generator()

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    @property
    def thread_count(self) -> int:
        """Threads of torch for this rank, its share of the machine's; 0, for "as the plan finds out", where alone."""
        return max(cores() // self.local_world, 1) if self.world > 1 else 0

    def divide(self, workers: int) -> int:
        """This rank's part of so many threads that prepare batches; 0 stays 0."""
        return -(-workers // self.local_world)

    def agree(self, name: str, value: Value) -> Value:
        """Return rank 0's value, plain JSON, on every rank; each name once."""
        if self.ledger is None:
            return value
        agreed: Value = self.ledger.agree(name, value)
        return agreed

    def require_shares(self, batch_size: int) -> None:
        """Refuse a batch that cannot be divided evenly (UsageError)."""
        if batch_size % self.world:
            near = max(round(batch_size / self.world), 1) * self.world
            raise UsageError(
                f"cannot divide a batch of {batch_size} among {self.world} ranks",
                why="each takes an equal part of every batch",
                advice=f"--set training.batch_size={near}, or another number of processes",
            )

    def share(self, order: npt.NDArray[np.int64], batch_size: int) -> npt.NDArray[np.int64]:
        """Of an epoch's order the samples of this rank, a part of each whole batch after the other."""
        whole = len(order) // batch_size * batch_size
        return order[:whole].reshape(-1, self.world, batch_size // self.world)[:, self.rank].reshape(-1)

    def cut(self, batch: Batch) -> Batch:
        """This rank's part of a batch that was prepared whole, as mixup needs it: partners come from all of it."""
        each = len(batch.targets) // self.world
        own = slice(self.rank * each, (self.rank + 1) * each)
        return Batch(batch.images[own], batch.targets[own], batch.samples[own])

    def rows(self, count: int) -> npt.NDArray[np.int64]:
        """Which of `count` images this rank scores; all of them where there are fewer than ranks."""
        every = np.arange(count, dtype=np.int64)
        return every if count < self.world else np.array_split(every, self.world)[self.rank]

    def gather(self, scores: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
        """Put the scores of every rank's `rows`, (n, K), together on every rank: (count, K)."""
        if self.world == 1 or count < self.world:
            return scores
        whole = torch.zeros(count, scores.shape[1])
        whole[torch.from_numpy(self.rows(count))] = torch.tensor(scores)
        dist.all_reduce(whole)  # beside a score there are only zeros
        return whole.numpy()

    def wrap(self, objective: Objective) -> nn.Module:
        """Return what several ranks run in place of the objective: its gradients are averages over the ranks.

        Its batch norms become synchronised ones, and all ranks take rank 0's tensors.
        """
        synchronise_norms(objective)
        drops = [place for place in objective.modules() if isinstance(place, DropPath) and place.per == "batch"]
        for place in drops:
            place.generator = self._common
        heads_rest = bool(objective.classifier.auxiliary) and not objective.config.auxiliary
        partial = bool(drops) or heads_rest or not objective.config.uses_labels
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the next torch calls it forward_sync_buffers
            return DistributedDataParallel(objective, broadcast_buffers=False, find_unused_parameters=partial)

    def seed(self, seed: int, step: int, micro_step: int) -> None:
        """Seed the network's noise of one forward pass: this rank's own, and that which all must draw alike."""
        seed_network(seed, step, micro_step, self.rank)
        self._common.manual_seed(network_seed(seed, step, micro_step, -1))

    def reduced(self, module: nn.Module, last: bool) -> contextlib.AbstractContextManager[None]:
        """Average the gradients at the end of the block's backward pass, where it is the `last` of an update."""
        if isinstance(module, DistributedDataParallel) and not last:
            return module.no_sync()
        return contextlib.nullcontext()

    def totals(self, loss: float, correct: int) -> tuple[float, int]:
        """The loss, a mean over equal parts, and the count of right images, of the whole batch."""
        if self.world == 1:
            return loss, correct
        sums = torch.tensor([loss, correct], dtype=torch.float64)
        dist.all_reduce(sums)
        return float(sums[0]) / self.world, int(sums[1])

    def highest(self, number: int) -> int:
        """The highest number of all ranks: with a signal's, 0 for none, all stop at the same update."""
        if self.world == 1:
            return number
        highest = torch.tensor(number)
        dist.all_reduce(highest, dist.ReduceOp.MAX)
        return int(highest)

    @contextlib.contextmanager
    def watched(self, during: str, kept: str, advice: str) -> Iterator[None]:
        """Turn what torch raises where another rank is lost into a LostRankError that names it."""
        try:
            yield
        except (RuntimeError, SilenceError) as error:
            if self.ledger is None or not _is_loss(error):
                raise
            lost = self.ledger.find_lost()
            what = f"{during} ended: {lost.who} was lost"
            raise LostRankError(what, why=lost.why, kept=kept, advice=advice, code=lost.code) from error


ALONE = Ranks()


@contextlib.contextmanager
def joined(place: Place, limit: float) -> Iterator[Ranks]:
    """Join the other ranks for the block; after an exception in it the group is left open (`is_joined`).

    limit: seconds that a rank may keep the others waiting, once they train. An exception is written down for the others
    first. Whoever then ends the process should do so at once: torch would wait for what the group still has to send.
    """
    if place.world == 1:
        yield ALONE
        return
    patience = max(limit, _JOINING)
    wait, keeps = datetime.timedelta(seconds=patience), place.rank == 0 and not place.kept
    if torch.cuda.is_available():
        if place.local_rank >= (count := torch.cuda.device_count()):
            why = f"there are {count} accelerators for {place.local_world} of them"
            raise UsageError("cannot train with so many processes", why=why, advice=f"--nproc-per-node {count}")
        torch.cuda.set_device(place.local_rank)
    meeting = (place.address, place.port, place.world, keeps, wait)
    store = dist.TCPStore(*meeting, wait_for_workers=False)  # type: ignore[attr-defined]  # torch says it in no list
    attempt = PrefixStore(f"lenext/{place.attempt}", store)
    ledger = Ledger(attempt, place.rank, place.world, limit, patience)
    ranks = Ranks(place, ledger)
    try:
        with ranks.watched("training", "what was there", "the same command again"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Grad strides do not match")  # of channels-last images; they are copied
            ledger.enter()
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
                store=PrefixStore("group", attempt),
                rank=place.rank,
                world_size=place.world,
                timeout=datetime.timedelta(seconds=limit),
            )
            yield ranks
    except BaseException as error:
        if not isinstance(error, LostRankError):
            ledger.write_end(error)
        raise
    dist.destroy_process_group()


def is_joined() -> bool:
    """Whether this process is in a group that it has not left in peace."""
    return dist.is_initialized()


def _is_loss(error: BaseException) -> bool:
    """Whether an exception of torch says that another rank did not answer, in torch's and gloo's own words."""
    return isinstance(error, dist.DistError | SilenceError) or "gloo" in str(error).lower()
