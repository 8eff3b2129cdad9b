"""Optional dependencies by verb; the names are those of pyproject.toml."""

import importlib.util

from lenext.errors import MachineError, UsageError

EXTRAS: dict[str, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxruntime"),
    "openvino": ("openvino", "onnx"),
    "classical": ("sklearn", "skimage", "cv2"),
    "search": ("optuna",),
    "serve": ("starlette", "uvicorn"),
    "tensorboard": ("tensorboard",),
}


def missing_modules(extra: str) -> list[str]:
    """The modules of an extra that cannot be imported here; none is imported to find out."""
    if extra not in EXTRAS:
        raise UsageError(
            f"unknown extra {extra!r}", why="pyproject.toml has none of that name", advice=", ".join(EXTRAS)
        )
    return [module for module in EXTRAS[extra] if importlib.util.find_spec(module) is None]


def require_extra(extra: str, verb: str) -> None:
    """Raise a MachineError (exit 6) with the exact pip line where `verb` needs an extra that is not installed."""
    missing = missing_modules(extra)
    if missing:
        raise MachineError(
            f"cannot {verb}", why=f"{', '.join(missing)} cannot be imported", advice=f"pip install 'lenext[{extra}]'"
        )
