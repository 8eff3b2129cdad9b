"""`lenext demo`: two networks trained, judged and reported, in a few minutes."""

import sys
import time
from pathlib import Path

from lenext.cli.output import home, put, say, train_aloud
from lenext.errors import DataError
from lenext.run import free_name, load_run

# network, epochs on Fashion-MNIST, epochs on the digits: together under five minutes on two cores
NETWORKS = (("lenet5_relu", 5, 30), ("resnet20", 3, 30))


def demonstrate(*, root: str = "") -> None:
    """Train LeNet-5 (dense, ReLU) and ResNet-20 on Fashion-MNIST, judge both on the test split, write their reports.

    Parameters
    ----------
    root
        Folder of data sets; $LENEXT_HOME or ~/.cache/lenext unless told otherwise.
    """
    from lenext.data.config import DataConfig
    from lenext.data.sources import find_source
    from lenext.experiment import opening
    from lenext.experiment.answers import evaluate
    from lenext.experiment.config import compose, with_epochs
    from lenext.judge.metrics import Metrics
    from lenext.reporting.page import write_report
    from lenext.reporting.tables import ResultRow, results_table

    started = time.monotonic()
    root = root or home()
    data = _find_data(root)
    source = find_source(data, root)
    rows, pages = [], []
    for model, long, short in NETWORKS:
        epochs = long if data == "fashion_mnist" else short
        experiment, decided = compose(DataConfig(name=data, root=root), source, model, settings=with_epochs(epochs))
        run = free_name(Path("runs"), f"demo-{model}")
        say(f"\n{model}: training for {epochs} epochs ({'; '.join(decided[1:])})")
        train_aloud(opening.start(experiment, source, run))
        metrics = evaluate(run)
        assert isinstance(metrics, Metrics)  # these sets have one class an image
        index = load_run(run)
        pages.append(write_report(run))
        rows.append(
            ResultRow(
                network=model, accuracy=metrics.top1, interval=metrics.top1_interval,
                seconds=index["train_seconds"], params=index["params"], macs=index["macs"],
            )
        )  # fmt: skip
    say(f"\n{data}: the test split was opened once for each network; {time.monotonic() - started:.0f} s in all\n")
    put(results_table(rows, terminal=sys.stdout.isatty()))
    for page in pages:
        put(str(page.resolve()))


def _find_data(root: str) -> str:
    from lenext.data.fetching import fetch
    from lenext.data.published import default_root

    try:
        info = fetch("fashion_mnist", Path(root or default_root()), say)
    except DataError as error:
        say(f"Fashion-MNIST cannot be had here ({error.why}); going on with the digits that come with lenext")
        return "digits"
    say(f"data: {info.description}, {info.counts['train']:,} + {info.counts['test']:,} images in {info.found}")
    return info.name
