"""`lenext explain`: what a network is made of. `block` draws a place of it, `kernels` what a convolution does."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from lenext.cli.output import put, put_json, say, table
from lenext.config import nearest
from lenext.errors import UsageError, printable
from lenext.run import write_durably

if TYPE_CHECKING:
    from torch import Tensor

app = App(name="explain", help="Look inside a network: draw one of its blocks, an image under the classic kernels.")


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


@app.command(name="kernels")
def explain_kernels(
    image: Path,
    /,
    *,
    out: Path | None = None,
    names: Annotated[list[str] | None, Parameter(name="--kernel", negative="")] = None,
    size: int = 256,
    json: bool = False,
) -> None:
    """Draw an image under the classic kernels as a PNG file, each with its numbers, and list them.

    Parameters
    ----------
    image
        An image file.
    out
        The PNG file to write; IMAGE-kernels.png unless told otherwise.
    names
        A kernel to apply: identity, sobel_x, sobel_y, laplacian, sharpen, box_blur or gaussian_blur; may be repeated.
        All unless told otherwise.
    size
        Pixels of the image's longer side: a larger one is reduced first, since a kernel reaches over a few pixels only.
    json
        Print an object with numbers and responses.
    """
    from lenext.explain.kernels import KERNELS, apply_kernel, as_pixels
    from lenext.reporting.kernels import Panel, draw_kernels

    for name in names or ():
        if name not in KERNELS:
            raise UsageError(f"unknown kernel {name!r}", why="it is no classic one", advice=nearest(name, KERNELS))
    chosen = {name: KERNELS[name] for name in names or KERNELS}
    path = out or Path(f"{image.stem}-kernels.png")
    if path.suffix.lower() != ".png":
        raise UsageError(f"cannot write {path}", why="a sheet of kernels is a PNG file", advice=f"{path.stem}.png")
    pixels = _read_reduced(image, size)
    if path.exists() and path.samefile(image):
        raise UsageError(f"cannot write {path}", why="it is the image itself", advice="another name after --out")
    panels, told = [], []
    for name, kernel in chosen.items():
        response = apply_kernel(pixels, kernel)
        least, most = response.min().item(), response.max().item()
        shown = ", grey is 0" if kernel.total == 0 else ", cut at 0 and 255" if least < 0 or most > 255 else ""
        words = (kernel.purpose, f"{least:.0f} to {most:.0f}{shown}")
        panels.append(Panel(name, as_pixels(response, kernel), kernel.numbers, kernel.divisor, words))
        told.append({"name": name, **dataclasses.asdict(kernel), "least": least, "most": most})
    height, width = pixels.shape[1:]
    write_durably(path, draw_kernels(panels, f"{printable(image.name)}, {width}x{height} pixels"))
    if json:
        put_json({"file": str(path), "width": width, "height": height, "kernels": told})
        return
    rows = [(name, _matrix(k.numbers), str(k.divisor), k.purpose) for name, k in chosen.items()]
    put(table([("kernel", "numbers", "divided by", "what it does"), *rows], right=(2,)))
    put(str(path))


def _read_reduced(image: Path, size: int) -> "Tensor":
    """The image as uint8 (1 or 3, H, W), its longer side reduced to `size` pixels where it is longer."""
    from lenext.data.decode import decode_file
    from lenext.data.geometry import resize

    if size < 1:
        raise UsageError(f"cannot show {size} pixels", why="an image has one at least", advice="--size 256")
    pixels = decode_file(image, 3)
    height, width = pixels.shape[1:]
    if max(height, width) > size:
        rows, columns = (max(round(side * size / max(height, width)), 1) for side in (height, width))
        pixels = resize(pixels[None], (rows, columns))[0]
        say(f"reduced from {width}x{height} to {columns}x{rows} pixels; --size decides")
    return pixels[:1] if all(plane.equal(pixels[0]) for plane in pixels) else pixels


def _matrix(numbers: Sequence[Sequence[int]]) -> str:
    """A matrix in one line, its rows parted by semicolons."""
    return "; ".join(" ".join(map(str, row)) for row in numbers)
