"""`lenext cost`: parameters and multiply-accumulates of a network, a run or a checkpoint."""

from pathlib import Path

from lenext.cli.output import put, put_json, table
from lenext.errors import UsageError


def show_cost(model: str, *, size: int = 0, classes: int = 0, json: bool = False) -> None:
    """Count parameters and multiply-accumulates (MACs) of one image.

    Parameters
    ----------
    model
        A network's name, a run or a checkpoint folder.
    size
        Height and width of the image in pixels; the paper's, or the run's own, unless told otherwise.
    classes
        Number of classes; the paper's unless told otherwise.
    json
        Print an object.
    """
    import torch

    from lenext import checkpoint
    from lenext.costs.operators import count_cost
    from lenext.experiment.config import checkpoint_folder
    from lenext.models.catalog import build, get_config

    if Path(model).is_dir():
        if classes:
            raise UsageError(
                "cannot change a run's classes", why="its network is trained for its own", advice="drop it"
            )
        card = checkpoint.load(checkpoint_folder(Path(model))).card
        row, changes, pixels = card.model, dict(card.changes), card.preprocessing["size"][0]
    else:
        row, changes, pixels = model, {"num_classes": classes} if classes else {}, get_config(model).input_size
    with torch.device("meta"):
        network = build(row, **changes)
    cost = count_cost(network, (network.config.in_channels, size or pixels, size or pixels))
    if json:
        put_json(
            {"model": model, "input_size": list(cost.input_size), "params": cost.params, "macs": cost.macs,
             "flops": 2 * cost.macs, "weight_bytes": cost.weight_bytes, "uncounted": list(cost.uncounted)}
        )  # fmt: skip
        return
    rows = [
        ("network", model),
        ("input", "x".join(str(side) for side in cost.input_size)),
        ("parameters", f"{cost.params:,}"),
        ("MACs", f"{cost.macs:,}"),
        ("FLOPs", f"{2 * cost.macs:,}"),
        ("weights", f"{cost.weight_bytes:,} bytes"),
        ("not counted", ", ".join(cost.uncounted)),
    ]
    put(table(rows))
