"""`lenext data show`: a contact sheet of what the network will see, with labels."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lenext.cli.output import home, put, say
from lenext.errors import UsageError
from lenext.run import write_durably


def show_images(
    data: str,
    out: Path = Path("contact-sheet.png"),
    /,
    *,
    model: str = "resnet18",
    recipe: str = "",
    size: int = 0,
    count: int = 24,
    epoch: int = 0,
    seed: int = 0,
    root: str = "",
    settings: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
) -> None:
    """Write a contact sheet (PNG) of training images as the network will see them, with their labels.

    Parameters
    ----------
    data
        A set of `lenext data`, or the path of a folder, a .zip or a .tar of images.
    out
        The PNG file to write; contact-sheet.png unless told otherwise.
    model
        The network that will be trained; it decides size and recipe.
    recipe
        The recipe that will be used.
    size
        Height and width of the images in pixels.
    count
        How many images.
    epoch
        Of which epoch; images are varied anew in each.
    seed
        Of order and augmentation.
    root
        Folder to look for the data in first.
    settings
        Any key of the configuration, as augment.mixup=0.2; may be repeated.
    """
    from lenext.data.config import DataConfig
    from lenext.data.sources import find_source
    from lenext.experiment.config import compose
    from lenext.experiment.preview import seen_images
    from lenext.reporting.contact import contact_sheet

    if out.suffix.lower() != ".png":
        raise UsageError(f"cannot write {out}", why="a contact sheet is a PNG file", advice=f"{out.stem}.png")
    source = find_source(data, root or home())
    told = DataConfig(name=source.name, root=root or home(), home=root or home())
    experiment, decided = compose(told, source, model, recipe=recipe, size=size, seed=seed, settings=settings or [])
    for sentence in decided:
        say(sentence)
    images, labels = seen_images(experiment, source, count, epoch)
    title = f"{Path(source.name).name}: {experiment.size}x{experiment.size}, recipe {experiment.recipe}, epoch {epoch}"
    write_durably(out, contact_sheet(images, labels, title))
    put(str(out))
