"""Training a network that is in no catalog: an experiment's own, without a run folder and in one go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.experiments.common import Options
from lenext.cli.output import say
from lenext.data.batches import train_batches
from lenext.data.config import DataConfig
from lenext.data.ordering import epoch_order
from lenext.data.sources import find_source
from lenext.device import threads
from lenext.experiment.answers import predict_store
from lenext.experiment.config import compose
from lenext.experiment.opening import prepare
from lenext.experiment.session import card_of, total_steps
from lenext.judge.metrics import measure
from lenext.models.classifier import Classifier
from lenext.models.init import initialise
from lenext.training.loop import TrainState, observe, train_epoch
from lenext.training.objective import Objective
from lenext.training.optim import make_optimizer

ROW = "resnet20"  # a network of the catalog that takes images of 8 pixels: settles data and preprocessing, nothing else


@dataclass(frozen=True)
class Fitted:
    """validation_error: the lowest of all epochs."""

    params: int
    validation_error: float


def fit(options: Options, make: Callable[[int, int], Classifier], seed: int, settings: Sequence[str] = ()) -> Fitted:
    """Train `make(channels, classes)` with the loop of `lenext train`, and validate it after every epoch.

    What an experiment does not ask for is left out: averages, frozen places, class weights, sampling, growing images.
    """
    recipe = next((s.partition("=")[2] for s in settings if s.startswith("recipe=")), "one_cycle")
    told = [
        f"training.epochs={options.epochs}",
        *options.settings,
        *(s for s in settings if not s.startswith("recipe=")),
    ]
    source = find_source(options.data, options.root)
    data = DataConfig(name=source.name, root=options.root)
    experiment, _ = compose(data, source, ROW, recipe=recipe, size=options.size, seed=seed, settings=told)
    beginning = prepare(experiment, source)
    config, parts, plan = experiment.training, beginning.parts, beginning.plan
    network = make(parts.preprocessing.channels, parts.task.num_classes)
    initialise(network, config.init, seed)
    state = TrainState(Objective(network, config.loss).to(plan.device), make_optimizer(network, config.optimizer))
    steps, errors = total_steps(config, len(parts.train)), []
    with threads(plan.threads):
        for epoch in range(options.epochs):
            order = epoch_order(parts.train, seed=seed, epoch=epoch)
            batches = train_batches(
                parts.train, parts.preprocessing, parts.variation, order, seed=seed, epoch=epoch,
                batch_size=config.batch_size,
            )  # fmt: skip
            for _ in train_epoch(state, batches, config, total=steps, seed=seed, plan=plan):
                pass
            state = observe(state, None, config)
            card = card_of(experiment, parts, state.progress)
            errors.append(1 - measure(predict_store(network, parts.validation, card, "validation")).score)
            say(f"epoch {epoch + 1}/{options.epochs}  validation error {100 * errors[-1]:.1f} %")
    return Fitted(sum(p.numel() for p in network.parameters()), min(errors))
