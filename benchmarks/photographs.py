"""CPU time to make training images of photographs, beside DataLoader and Pillow: python -m benchmarks.photographs.

The work: files to random resized crops of 224 pixels, half of them mirrored, normalised, in batches of floats. Peer: a
data set as torchvision's reference has it (Pillow decodes, cuts, scales and mirrors; torch makes floats), in torch's
DataLoader without worker processes, which costs it nothing for sending. Ours: `lenext.data`, images kept on the disk;
the first epoch counts from finding and digesting the files on, with an empty cache. Each has a process of its own
(benchmarks/arms.py), of one thread, and ours keeps its memory, as `lenext train` does. Time is that of the processor,
an image. A ratio is of one round, in which all were measured in turn; the median of the rounds stands with the lowest
and the highest. At last, the share of a training step of ResNet-18.

The images are mosaics of real photographs (scikit-image's, scikit-learn's), so that every part has their detail, as
JPEGs of quality 90. `--quick` is for trying it.
"""

import argparse
import io
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, Dataset

from benchmarks.arms import Arm, Step
from lenext.data.batches import Variation, train_batches
from lenext.data.cache import keep_decoded
from lenext.data.config import AugmentConfig
from lenext.data.files import open_files
from lenext.data.ordering import plan
from lenext.data.preprocessing import Preprocessing, decoded_side
from lenext.data.store import Store
from lenext.device import keep_memory
from lenext.models.catalog import build
from tests.real_data import photograph

SIZE, BATCH = 224, 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MEGAPIXELS = (0.2, 0.8, 3.0)
NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "ihc.png", "motorcycle_left.png")
VARIATION = Variation(AugmentConfig(crop_area=(0.08, 1.0), flip=True), 2)
RULE = Preprocessing(size=(SIZE, SIZE), channels=3, mean=MEAN, std=STD)


class Reference(Dataset[tuple[Tensor, int]]):
    """Files as torchvision's reference training reads them."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.rglob("*.jpg"))
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with self.paths[index].open("rb") as file:
            image = Image.open(file).convert("RGB")
        image = image.crop(drawn_box(*image.size)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return pixels.to(torch.float32).div_(255).sub_(self.mean).div_(self.std), index % 2


def drawn_box(width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of 8 to 100 % of the area, of an aspect of 3/4 to 4/3; all of it where none fits."""
    for _ in range(10):
        area = width * height * random.uniform(0.08, 1.0)
        aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if wide <= width and tall <= height:
            left, top = random.randint(0, width - wide), random.randint(0, height - tall)
            return left, top, left + wide, top + tall
    return 0, 0, width, height


def write_mosaics(folder: Path, megapixels: float, count: int) -> None:
    """Write JPEGs of that size, 4 wide to 3 high, of photographs at about a fifth of a megapixel each."""
    photographs = [Image.open(photograph(name)).convert("RGB") for name in NAMES]
    photographs += [Image.fromarray(pixels) for pixels in load_sample_images().images]
    height = round(math.sqrt(megapixels * 1e6 * 3 / 4))
    across = max(round(math.sqrt(megapixels / 0.2)), 1)
    draw = random.Random(0)
    for number in range(count):
        mosaic = Image.new("RGB", (height * 4 // 3, height))
        side = (-(-mosaic.width // across), -(-mosaic.height // across))
        for place in range(across * across):
            part = draw.choice(photographs).resize(side, Image.Resampling.BICUBIC)
            mosaic.paste(part, (place % across * side[0], place // across * side[1]))
        buffer = io.BytesIO()
        mosaic.save(buffer, "JPEG", quality=90)
        path = folder / "ab"[number % 2] / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())


def spent(work: Callable[[], object]) -> float:
    """Seconds of the processor, of all threads of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def peer_epoch(folder: Path) -> None:
    for images, _ in DataLoader(Reference(folder), BATCH, shuffle=True, drop_last=True):
        assert images.shape == (BATCH, 3, SIZE, SIZE)


def make_peer(folder: Path) -> tuple[Step, None]:
    """An epoch of the peer, in seconds of the processor."""
    torch.set_num_threads(1)
    random.seed(0)
    return partial(spent, partial(peer_epoch, folder)), None


def make_ours(folder: Path) -> tuple[Step, None]:
    """An epoch of ours, in seconds of the processor: a home without a cache begins with finding the files."""
    keep_memory()  # as `lenext train` does
    torch.set_num_threads(1)
    stores: dict[Path, Store] = {}

    def step(home: Path, number: int) -> float:
        return spent(partial(epoch, home, number))

    def epoch(home: Path, number: int) -> None:
        if home not in stores:
            stores.clear()
            stores[home] = opened(folder, home)
        order = plan(len(stores[home]), seed=0, epoch=number)[0]
        batches = train_batches(stores[home], RULE, VARIATION, order, seed=0, epoch=number, batch_size=BATCH)
        for batch in batches:
            assert batch.images.shape == (BATCH, 3, SIZE, SIZE)

    return step, None


def opened(folder: Path, home: Path) -> Store:
    return keep_decoded(open_files(folder).open("all", decoded_side(SIZE)), memory=0, disk=1 << 40, home=home)


def measure(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of an epoch each round: of the peer, of our first, of our later ones."""
    found: dict[str, list[float]] = {"peer": [], "first": [], "later": []}
    peer, ours = Arm(make_peer, folder), Arm(make_ours, folder)
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as home:
            found["peer"].append(peer()[1])
            found["first"].append(ours(Path(home), 0)[1])
            ours(Path(home), 1)  # maps the pages
            found["later"].append(statistics.median(ours(Path(home), number)[1] for number in range(2, 5)))
    peer.close()
    ours.close()
    return found


def print_profile(folder: Path) -> None:
    """Of a later epoch, by torch's profiler: the operators that take most."""
    step, _ = make_ours(folder)
    with tempfile.TemporaryDirectory() as home:
        for number in range(2):
            step(Path(home), number)
        with profile(activities=[ProfilerActivity.CPU]) as found:
            step(Path(home), 2)
    rows = sorted(found.key_averages(), key=lambda row: -row.self_cpu_time_total)
    whole = sum(row.self_cpu_time_total for row in rows)
    print("a later epoch: " + ", ".join(f"{row.key} {row.self_cpu_time_total / whole:.0%}" for row in rows[:8]))


def decoding(folder: Path, divisor: int, count: int = 16) -> float:
    """Seconds of the processor in which Pillow decodes one image at a scale; at 1/8 all is entropy decoding, nearly."""
    paths = sorted(folder.rglob("*.jpg"))[:count]

    def decode() -> None:
        for path in paths:
            image = Image.open(path)
            if divisor > 1:
                image.draft(None, (image.width // divisor, image.height // divisor))
            image.load()

    decode()
    return statistics.median(spent(decode) for _ in range(5)) / len(paths)


def step_seconds(rounds: int) -> float:
    """Seconds of the processor for an image of a training step of ResNet-18, the median."""
    model = build("resnet18", num_classes=1000).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    images = torch.rand(BATCH, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    labels = torch.arange(BATCH)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    step()
    return statistics.median(spent(step) for _ in range(rounds)) / BATCH


def ratio(one: list[float], other: list[float]) -> str:
    found = [a / b for a, b in zip(one, other, strict=True)]
    return f"{statistics.median(found):6.2f} [{min(found):.2f}, {max(found):.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few images and rounds")
    parser.add_argument("--profile", action="store_true", help="of a later epoch, instead, at 0.8 megapixels")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    count, rounds = (128, 2) if asked.quick else (asked.images, asked.rounds)
    torch.set_num_threads(1)
    if asked.profile:
        with tempfile.TemporaryDirectory() as folder:
            write_mosaics(Path(folder), 0.8, count)
            print_profile(Path(folder))
        return
    step = step_seconds(rounds)
    seen = count // BATCH * BATCH
    print(f"a ResNet-18 step: {1e3 * step:.1f} ms of the processor an image, batch {BATCH}, float32, one thread")
    for megapixels in MEGAPIXELS:
        with tempfile.TemporaryDirectory() as folder:
            write_mosaics(Path(folder), megapixels, count)
            found = measure(Path(folder), rounds)
            scales = {f"1/{divisor}": 1e3 * decoding(Path(folder), divisor) for divisor in (1, 2, 4, 8)}
        peer, first, later = (1e3 * statistics.median(found[name]) / seen for name in ("peer", "first", "later"))
        print(
            f"{megapixels} MP  ms an image: peer {peer:.2f}, first epoch {first:.2f}, later {later:.3f}   times less: "
            f"first {ratio(found['peer'], found['first'])}, later {ratio(found['peer'], found['later'])}   "
            f"of a step {later / step / 10:.2f} %   Pillow decodes at "
            + ", ".join(f"{scale} in {ms:.2f}" for scale, ms in scales.items())
        )


if __name__ == "__main__":
    main()
