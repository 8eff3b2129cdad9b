"""`lenext explain`: what a network is made of. `block` draws a place of it."""

from pathlib import Path

from cyclopts import App

from lenext.cli.output import put, say, table
from lenext.errors import UsageError
from lenext.run import write_durably

app = App(name="explain", help="Look inside a network: draw one of its blocks.")


@app.command(name="block")
def explain_block(
    model: str, place: str = "", /, *, size: int = 0, out: Path | None = None, depth: int = 0, steps: bool = False
) -> None:
    """Draw a block of a network as an SVG file, read off while the network runs; without PLACE list its places.

    Parameters
    ----------
    model
        A network's name.
    place
        The dotted name of a place, as in the cost table and in freeze: stem, stages.conv2_x.0, head.
    size
        Height and width of the image in pixels; the paper's unless told otherwise.
    out
        The SVG file to write; MODEL-PLACE.svg unless told otherwise.
    depth
        Draw the blocks that many levels inside the place as one box each; 0 opens all.
    steps
        Draw a box for each normalisation and activation, which else stand in the box that they follow.
    """
    import torch

    from lenext.explain.graph import drawable_places, trace_block
    from lenext.models.catalog import build, canonical_name
    from lenext.reporting.diagram import draw_block

    name = canonical_name(model)
    with torch.device("meta"):
        network = build(name)
    if not place:
        put(table([("place", "what it is"), *drawable_places(network)]))
        say(f"draw one: lenext explain block {model} PLACE")
        return
    path = out or Path(f"{name}-{place}.svg")
    if path.suffix.lower() != ".svg":
        raise UsageError(f"cannot write {path}", why="a drawing is an SVG file", advice=f"{path.stem}.svg")
    side = size or network.config.input_size
    graph = trace_block(network, place, (network.config.in_channels, side, side), fold=not steps, depth=depth or None)
    write_durably(path, draw_block(graph, f"{name}: {place}").encode())
    put(str(path))
