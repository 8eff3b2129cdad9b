"""Read a pickled file of tensors in a process of its own, which may not grow beyond what such a file needs.

Run as `python -m lenext.weights.sandbox FILE OUT BYTES`: it unpickles tensors and nothing else, writes them to OUT as
safetensors, and ends with 0; or with 3 and one line that says why not.
"""

import argparse
import contextlib
import ctypes
import re
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

REFUSED = 3  # exit code
TOO_LARGE = "it takes far more memory than a file of its size holds"
_WITHIN = ("state_dict", "model", "model_state_dict", "model_state", "net")  # where training programs put the weights
_SECONDS = 600  # of the processor
_WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
_HARMLESS: list[Any] = [
    argparse.Namespace
]  # what training programs keep beside the weights; unpickling it runs nothing


def main(source: str, target: str, limit: str) -> int:
    """Convert the file within `limit` bytes above what this process has now."""
    try:
        _confine(int(limit))
        with torch.serialization.safe_globals(_HARMLESS):
            tensors = find_tensors(torch.load(source, map_location="cpu", weights_only=True))
        own = {name: value.clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
        safetensors.torch.save_file(own, target)
    except MemoryError:
        return _refuse(TOO_LARGE)
    except Exception as error:
        words = " ".join(str(error).split())
        if "alloc" in words:  # torch's own words for a MemoryError
            return _refuse(TOO_LARGE)
        strange = re.search(r"(?:GLOBAL|Unsupported \S+:?) (\S+)", words)  # the rest advises to run what it holds
        if "weights_only" in words:
            return _refuse(f"it holds more than tensors: {strange[1] if strange else 'a pickle of another kind'}")
        return _refuse(words[:200] or type(error).__name__)
    return 0


def find_tensors(content: Any) -> dict[str, Tensor]:
    """The named tensors of a state dict, or of the one within a training program's checkpoint."""
    for key in _WITHIN:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise TypeError(f"it holds a {type(content).__name__} and no named tensors")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise TypeError("it holds no named tensors")
    for prefix in _WRAPPERS:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _confine(limit: int) -> None:
    """Take the right to more memory, larger files and more time away from this process; it ends with its parent."""
    with contextlib.suppress(OSError, AttributeError):  # Linux: PR_SET_PDEATHSIG, SIGKILL
        ctypes.CDLL(None).prctl(1, 9)
    with contextlib.suppress(OSError):  # systems without /proc do not enforce RLIMIT_AS either
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + limit)
    _lower(resource.RLIMIT_FSIZE, limit)
    _lower(resource.RLIMIT_CPU, _SECONDS)
    _lower(resource.RLIMIT_CORE, 0)


def _lower(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _refuse(why: str) -> int:
    sys.stderr.write(why + "\n")
    return REFUSED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
