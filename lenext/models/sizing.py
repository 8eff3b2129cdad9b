"""The one rule by which a network's row and the size of its images are chosen."""

from lenext.errors import UsageError
from lenext.models.catalog import canonical_name, fits, get_config, small_row


def choose_row(model: str, native: int, size: int = 0) -> tuple[str, int, str]:
    """Pick the catalog's row and the image size for data of `native` pixels (0: of many sizes), and say so.

    The asked `size`; else the paper's, for data of many sizes or of a larger one; else the data's own where the row
    accepts it; else the row's small form; else the smallest size that the row accepts. Returns (row, size, sentence).
    """
    model = canonical_name(model)
    row = get_config(model)
    if size:
        if not row.accepts(size):
            raise UsageError(
                f"{model} cannot see {size}x{size} images",
                why=f"it takes {row.sizes()}",
                advice=f"--size {row.min_size}, or no --size",
            )
        return model, size, f"{model} at {size}x{size}, as asked"
    if not native or native > row.input_size:
        why = f"{native}x{native} images are scaled" if native else "images of many sizes are scaled"
        return model, row.input_size, f"{model} at {row.input_size}x{row.input_size}, as in its paper; {why} to that"
    if row.accepts(native):
        return model, native, f"{model} at {native}x{native}, the size of the data"
    small = small_row(model)
    if small is not None and fits(small, native):
        return small, native, f"{small} at {native}x{native}, because {model} takes {row.sizes()}"
    return model, row.min_size, f"{model} at {row.min_size}x{row.min_size}, because it takes {row.sizes()}"
