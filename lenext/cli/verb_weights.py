"""`lenext weights`: what others have trained: listed, got from its publisher, turned into a checkpoint."""

import fnmatch
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from lenext.cli.output import home, put, put_json, say, table
from lenext.errors import UsageError

if TYPE_CHECKING:
    from lenext.weights.importing import Imported

Source = Literal["torchvision", "timm", "original"]
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")  # the hub's own switches

app = App(name="weights", help="List published weights, get them, or import a file of them.")


@app.default
def list_weights(pattern: str = "*", *, json: bool = False) -> None:
    """List the weights that torchvision, timm and some authors publish for the networks here.

    Parameters
    ----------
    pattern
        A shell pattern on the networks' names ("resnet*").
    json
        Print a list of objects.
    """
    from lenext.papers import load_papers
    from lenext.weights.published import published_weights

    rows = [(name, one) for name, row in load_papers().items() for one in published_weights(row)]
    rows = [(name, one) for name, one in rows if fnmatch.fnmatchcase(name, pattern)]
    if not rows:
        raise UsageError(f"no published weights for {pattern!r}", why="none are known", advice="lenext weights")
    if json:
        put_json([{"model": name, **vars(one)} for name, one in rows])
        return
    cells = [
        (name, one.source, one.tag, str(one.size), f"{one.classes:,}", f"{one.top1:.2f} %" if one.top1 else "")
        for name, one in rows
    ]
    put(table([("name", "from", "tag", "size", "classes", "top-1"), *cells], right=(3, 4, 5)))


@app.command(name="import")
def import_file(
    file: Path,
    *,
    model: str,
    out: Path,
    source: Annotated[Source | None, Parameter(name="--from")] = None,
    tag: str = "",
    json: bool = False,
) -> None:
    """Turn a file of weights (.pth, .safetensors) into a lenext checkpoint, to predict with or to train from.

    Parameters
    ----------
    file
        The file. A pickle is read in a confined process that loads tensors only.
    model
        The network of `lenext models` that the weights are of.
    out
        The checkpoint folder to make.
    source
        Whose names the tensors have; found out unless told.
    tag
        Which of the source's weights they are (`lenext weights`), where the file's name does not say.
    json
        Print an object.
    """
    from lenext.weights.importing import import_weights

    _tell(import_weights(file, model, out, source or "", tag), json)


@app.command(name="get")
def get_published(
    model: str,
    *,
    source: Annotated[Source | None, Parameter(name="--from")] = None,
    tag: str = "",
    out: Path | None = None,
    root: str = "",
    json: bool = False,
) -> None:
    """Get published weights from their publisher, check their digest, and make a checkpoint of them.

    Parameters
    ----------
    model
        A network of `lenext models`.
    source
        torchvision or timm; the first that has the network unless told otherwise.
    tag
        Which weights, of `lenext weights NAME`; the source's default unless told otherwise.
    out
        The checkpoint folder to make; weights/MODEL-TAG unless told otherwise.
    root
        Folder below which, in weights/, the publisher's file is kept; $LENEXT_HOME or ~/.cache/lenext otherwise.
    json
        Print an object.
    """
    from lenext.models.catalog import canonical_name
    from lenext.papers import load_papers
    from lenext.weights.hub import Addresses, get_weights
    from lenext.weights.importing import import_weights
    from lenext.weights.published import choose_published

    row = load_papers()[canonical_name(model)]
    one = choose_published(row, source or "", tag)
    out = out or Path("weights") / f"{row.name}-{one.tag}"
    if os.path.lexists(out):
        raise UsageError(f"cannot write {out}", why="it exists", kept="it, untouched", advice="--out another folder")
    addresses = Addresses(hub=(os.environ.get("HF_ENDPOINT") or Addresses.hub).rstrip("/"))
    offline = any(os.environ.get(name, "").lower() in ("1", "true", "on", "yes") for name in OFFLINE)
    folder = Path(root or home() or Path.home() / ".cache" / "lenext") / "weights"
    say(f"{one.tag} of {one.source}, for {row.name}")
    file = get_weights(one, folder, addresses, offline=offline)
    _tell(import_weights(file, row.name, out, one.source, one.tag), json)


def _tell(imported: "Imported", json: bool) -> None:
    fed, conversion = imported.fed, imported.conversion
    if json:
        put_json(
            {
                "checkpoint": str(imported.checkpoint),
                "source": imported.source,
                "tag": fed.tag,
                "taken": conversion.taken,
                "of": conversion.of,
                "classes": conversion.classes[1],
                "unused": list(conversion.unused),
                "preprocessing": fed.preprocessing(),
                "preprocessing_assumed": imported.assumed,
            }
        )
        return
    shown = fed.preprocessing()["crop_fraction"]
    put(f"{conversion} from {imported.source}")
    put(f"fed with {fed.size}x{fed.size} pixels, {shown:.3g} of the shorter side, {fed.interpolation}")
    if imported.assumed:
        what = fed.tag or "networks of ImageNet are"
        say(f"the file does not say which weights it holds: fed as {what}; --tag tells another")
    put(f"{imported.checkpoint}")
    say(f"next: lenext predict {imported.checkpoint} IMAGES, or lenext train DATA --weights {imported.checkpoint}")
