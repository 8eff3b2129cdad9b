"""`lenext data`: what data sets there are, where they lie, and how to get them."""

from pathlib import Path
from typing import Literal

from cyclopts import App

from lenext.cli.output import home, put, put_json, read_amount, say, table
from lenext.errors import UsageError

Name = Literal["fashion_mnist", "mnist", "cifar10", "cifar100", "digits"]

SMALLEST_SHARD = 20_480  # bytes: two of the records that a .tar is padded to

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
def pack_files(path: Path, out: Path, *, shard_size: str = "") -> None:
    """Write the images of a folder or an archive to one new .tar: the same names, the same bytes, the same ids.

    Parameters
    ----------
    path
        The images, as `lenext train` takes them.
    out
        The .tar to write, or with --shard-size the folder of several; it must not exist.
    shard_size
        Bytes of a .tar at most, as 1GB or 500MB: several are written, with an index that tells when one is damaged.
    """
    from lenext.data.packing import pack_images

    packed = pack_images(path, out, _shard_bytes(shard_size) if shard_size else 0)
    for sentence in packed.ignored:
        say(f"left out: {sentence}")
    shards = f" in {packed.shards:,} shard{'s' * (packed.shards > 1)}" if shard_size else ""
    put(f"{packed.path}: {packed.images:,} images{shards}, {packed.size:,} bytes, read back and compared")


def _shard_bytes(text: str) -> int:
    size = read_amount(text)
    if size < SMALLEST_SHARD:
        why = f"a .tar has {SMALLEST_SHARD:,} bytes at least" if size else "it is no amount of bytes with a unit"
        raise UsageError(f"cannot write shards of {text!r}", why=why, advice="--shard-size 1GB")
    return size


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "-"
