"""`lenext data`: what data sets there are, where they lie, and how to get them."""

from pathlib import Path
from typing import Literal

from cyclopts import App

from lenext.cli.output import home, put, put_json, say, table

Name = Literal["fashion_mnist", "mnist", "cifar10", "cifar100", "digits"]

app = App(name="data", help="List the data sets, get one, check, show or pack your own.")
app.command("lenext.cli.verb_show:show_images", name="show")
app.command("lenext.cli.verb_check:check_files", name="check")


@app.default
def list_sets(*, json: bool = False) -> None:
    """List the data sets and where they were found.

    Parameters
    ----------
    json
        Print a list of objects.
    """
    from lenext.data.sources import SOURCES, find_source
    from lenext.errors import DataError

    rows = []
    for name in SOURCES:
        try:
            info = find_source(name, home())
            rows.append({"name": name, "train": info.counts["train"], "test": info.counts["test"], "found": info.found})
        except DataError:
            rows.append({"name": name, "train": None, "test": None, "found": None})
    if json:
        put_json(rows)
        return
    cells = [(str(r["name"]), _number(r["train"]), _number(r["test"]), str(r["found"] or "-")) for r in rows]
    put(table([("name", "train", "test", "found"), *cells], right=(1, 2)))
    for row in rows:
        if row["found"] is None:
            say(f"{row['name']} is not here: lenext data get {row['name']}")


@app.command(name="get")
def get_set(name: Name, *, root: str = "") -> None:
    """Get a data set: found where it lies, else Debian's package, else the publisher's files, checked by digest.

    Parameters
    ----------
    name
        The data set.
    root
        Folder to put it in; $LENEXT_HOME or ~/.cache/lenext unless told otherwise.
    """
    from lenext.data.fetching import fetch
    from lenext.data.published import default_root

    info = fetch(name, Path(root or home() or default_root()), say)
    put(f"{info.name}: {info.counts['train']:,} training and {info.counts['test']:,} test images in {info.found}")


@app.command(name="pack")
def pack_files(path: Path, out: Path) -> None:
    """Write the images of a folder or an archive to one new .tar: the same names, the same bytes, the same ids.

    Parameters
    ----------
    path
        The images, as `lenext train` takes them.
    out
        The .tar to write; it must not exist.
    """
    from lenext.data.packing import pack_images

    packed = pack_images(path, out)
    for sentence in packed.ignored:
        say(f"left out: {sentence}")
    put(f"{packed.path}: {packed.images:,} images, {packed.size:,} bytes, read back and compared")


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "-"
