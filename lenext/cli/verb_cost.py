"""`lenext cost`: parameters and multiply-accumulates of a network, a run or a checkpoint."""

from pathlib import Path

from lenext.cli.output import put, put_json, table


def show_cost(model: str, *, size: int = 0, classes: int = 0, json: bool = False) -> None:
    """Count parameters and multiply-accumulates (MACs) of one image.

    Parameters
    ----------
    model
        A network's name, a run or a checkpoint folder.
    size
        Height and width of the image in pixels; the paper's unless told otherwise.
    classes
        Number of classes; the paper's unless told otherwise.
    json
        Print an object.
    """
    from lenext.costs.operators import count_cost
    from lenext.experiment.answers import load
    from lenext.models.catalog import build

    network = (
        load(Path(model)) if Path(model).is_dir() else build(model, **({"num_classes": classes} if classes else {}))
    )
    pixels = size or network.config.input_size
    cost = count_cost(network, (network.config.in_channels, pixels, pixels))
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
