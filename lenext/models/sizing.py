"""The one rule by which a network's row and the size of its images are chosen."""

from lenext.errors import UsageError
from lenext.models.catalog import fits, get_config, small_row


def choose_row(model: str, native: int, size: int = 0) -> tuple[str, int, str]:
    """Pick the catalog's row and the image size for data of `native` pixels, and say so.

    The asked `size`; else the data's own where the row accepts it; else the row's small form; else the smallest size
    that the row accepts. Returns (row, size, sentence).
    """
    if size:
        if not fits(model, size):
            raise UsageError(
                f"{model} does not take {size}x{size} images", why=accepted(model), advice="another --size"
            )
        return model, size, f"{model} at {size}x{size}, as asked"
    if fits(model, native):
        return model, native, f"{model} at {native}x{native}, the size of the data"
    small = small_row(model)
    if small is not None and fits(small, native):
        return small, native, f"{small} at {native}x{native}, because {model} takes {accepted(model)}"
    smallest = get_config(model).min_size
    return model, smallest, f"{model} at {smallest}x{smallest}, because it takes {accepted(model)}"


def accepted(model: str) -> str:
    """The sizes a row accepts, in words."""
    row = get_config(model)
    if row.max_size is None:
        return f"{row.min_size}x{row.min_size} and larger"
    if row.max_size == row.min_size:
        return f"{row.min_size}x{row.min_size} only"
    return f"{row.min_size}x{row.min_size} to {row.max_size}x{row.max_size}"
