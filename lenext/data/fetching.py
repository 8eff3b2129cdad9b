"""Get a data set: from the operating system's packages, else from its publisher, checked byte by byte.

The only module of the room that starts a program or asks for a connection, and only when it is called.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lenext.data.cifar import CIFAR_SETS
from lenext.data.idx import uncompressed_sha256
from lenext.data.published import IDX_SETS, FileKey, Published, locate, open_published
from lenext.downloads import download_file, has_digest
from lenext.errors import DataError

Say = Callable[[str], None]

_APT_TIMEOUT = 600.0  # seconds: 31 MB over a slow line


@dataclass(frozen=True)
class Publisher:
    """Where the files of a set are published: `address` ends with a slash, `md5` maps file names to digests."""

    address: str
    md5: Mapping[str, str]


# fmt: off
PUBLISHERS: Mapping[str, Publisher] = {
    # github.com/zalandoresearch/fashion-mnist, README, "Get the Data"
    "fashion_mnist": Publisher("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz":  "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz":  "bb300cfdad3c16e7a12a480ee83cd310",
    }),
    # the mirror and the digests of torchvision.datasets.MNIST: the publisher's own page no longer serves the files
    "mnist": Publisher("https://ossci-datasets.s3.amazonaws.com/mnist/", {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz":  "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz":  "ec29112dd5afa0611ce80d1b7f02629c",
    }),
    # the publisher's page, "Download": there is no other digest than MD5
    **{
        name: Publisher("https://www.cs.toronto.edu/~kriz/", {source.binary.archive: source.binary.md5})
        for name, source in CIFAR_SETS.items()
    },
}
# fmt: on

_DEBIAN_PACKAGES = {"fashion_mnist": "dataset-fashion-mnist"}


def fetch(name: str, root: Path, say: Say, publisher: Publisher | None = None) -> Published:
    """Make the set available and return what it is; a set that is found already is left as it is.

    Fashion-MNIST comes as a Debian package where this process may install one; every other way leads to the publisher
    (`publisher` names another place that has the files), whose files are written to root/NAME. A failure is a
    DataError, or a MachineError where the folder cannot be written; whole files that had arrived are kept.
    """
    try:
        return open_published(name, str(root))
    except DataError as missing:
        say(f"{missing.what}: {missing.why}")
    package = _DEBIAN_PACKAGES.get(name)
    if package and publisher is None and install_package(package, say):
        try:
            verify(locate(name, str(root)), IDX_SETS[name].sha256)
            return open_published(name, str(root))
        except DataError as error:
            say(f"{error.what}: {error.why}")
    download(publisher or PUBLISHERS[name], root / name, say)
    if publisher is None and name in IDX_SETS:  # MD5 alone does not tell a forger's file from the publisher's
        verify(locate(name, str(root)), IDX_SETS[name].sha256)
    return open_published(name, str(root))


def install_package(package: str, say: Say) -> bool:
    """Install a Debian package, where this process is root and has apt-get; tell whether it worked."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    install = ("install", "-y", "--no-install-recommends", package)
    return _apt_get(install, say) or (_apt_get(("update",), say) and _apt_get(install, say))


def download(publisher: Publisher, folder: Path, say: Say) -> None:
    """Bring the publisher's files to `folder`, one at a time; one that is there with the right digest is left."""
    for file, md5 in publisher.md5.items():
        target = folder / file
        if has_digest(target, "md5", md5):
            say(f"{target} is there")
            continue
        say(f"getting {publisher.address}{file}")
        download_file(publisher.address + file, target, "md5", md5)


def verify(files: Mapping[FileKey, Path], sha256: Mapping[FileKey, str]) -> None:
    """Compare the uncompressed bytes of each file with its digest: the packagers of a set may gzip it anew."""
    for key, path in files.items():
        found = uncompressed_sha256(path)
        if found != sha256[key]:
            raise DataError(
                f"cannot use {path}",
                why=f"its uncompressed SHA-256 is {found}, published is {sha256[key]}",
                advice="remove the file and get it again",
            )


def _apt_get(arguments: Sequence[str], say: Say) -> bool:
    command = ("apt-get", *arguments)
    say(f"running {' '.join(command)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(
            command, check=True, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=_APT_TIMEOUT
        )
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        say(f"apt-get failed: {lines[-1] if lines else f'exit {error.returncode}'}")
        return False
    except (OSError, subprocess.TimeoutExpired) as error:
        say(f"apt-get failed: {error}")
        return False
    return True
