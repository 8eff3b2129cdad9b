"""Images a second and milliseconds an image of each prediction engine, beside peers driven directly, and how far apart.

    python -m benchmarks.engines --models resnet18,resnet50 --turns 7 [--precision bf16] [--photos FOLDER] [--quick]

Every engine and peer is an arm (benchmarks/arms.py), on all cores, asked in turn. Peers: the plain network (eager,
float32, contiguous, evaluation mode), OpenVINO by its own AsyncInferQueue with the hint THROUGHPUT (LATENCY for one
image), ONNX Runtime; both read the network unfolded, as torch exports it. Ratios are of one turn, told as median and
quartiles. Scores are compared on 1,000 real photographs' crops where `--photos FOLDER` names them, else on the digits,
enlarged.
"""

import argparse
import dataclasses
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import torch
from torch import Tensor, nn

from benchmarks.arms import Arm, Step
from lenext.data.decode import decode_file
from lenext.data.listing import list_files
from lenext.data.preprocessing import Preprocessing, preprocess
from lenext.data.sources import find_source
from lenext.device import Precision, cores
from lenext.evaluation.choosing import open_engine
from lenext.evaluation.engines import EngineConfig, EngineName
from lenext.exporting.onnx import onnx_bytes
from lenext.models.catalog import build
from lenext.predictions import softmax

MODELS = "resnet18,resnet50,mobilenetv2_100,convnext_tiny"
SINGLE = 16  # images, one after the other
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all arms are given: a network, its weights in a file, the images and how many of them go together."""

    name: str
    weights: Path
    count: int
    photos: Path | None
    precision: Precision
    batch: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--engines", default="eager,compile,openvino,onnxruntime")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--images", type=int, default=1000, help="whose scores are compared")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--quick", action="store_true", help="one network of 32x32 images, without the compiler")
    args = parser.parse_args()
    if args.quick:
        args.models, args.engines, args.turns, args.images = "resnet20", "eager,openvino,onnxruntime", 2, 200
    torch.set_num_threads(cores())
    print(f"{cores()} cores, torch {torch.__version__}, {args.turns} turns, ratios as median (quartiles)")
    with tempfile.TemporaryDirectory() as folder:
        for name in args.models.split(","):
            weights = Path(folder) / f"{name}.pt"
            torch.save(settled(build(name)).state_dict(), weights)
            for batch in (args.batch, 1):
                count = max(args.images, 2 * batch) if batch > 1 else SINGLE
                setting = Setting(name, weights, count, args.photos, args.precision, batch)
                compare(setting, args.engines.split(","), args.turns)


def compare(setting: Setting, engines: list[EngineName], turns: int) -> None:
    arms = {"plain": Arm(plain, setting), "OpenVINO": Arm(openvino_directly, setting)}
    arms["ONNX Runtime"] = Arm(onnx_runtime_directly, setting)
    for engine in engines:
        arm = Arm(ours, setting, engine)
        arms[f"lenext {arm.about}"] = arm
    count = 2 * setting.batch if setting.batch > 1 else SINGLE  # a stream of two batches, or one image after the other
    took = [{name: arm(0, count)[0] for name, arm in arms.items()} for _ in range(turns + 2)][2:]
    print(f"\n{setting.name}, batches of {setting.batch}")
    for name, arm in arms.items():
        each = statistics.median(turn[name] for turn in took) / count
        plain_times, peer_times = (quartiles([turn[p] / turn[name] for turn in took]) for p in ("plain", "OpenVINO"))
        print(
            f"  {name:58} {1 / each:8.1f} images/s {1000 * each:8.2f} ms an image  x plain {plain_times:22}"
            f"  x OpenVINO {peer_times:22}  peak {arm.peak:.2f} GB"
        )
    if setting.batch > 1:
        agreement(arms, setting.count)
    for arm in arms.values():
        arm.close()


def settled(model: nn.Module) -> nn.Module:
    """Statistics of norms as a few real images give them: without these, scores would run away or die out."""
    images = real_images(16, model.config.input_size, None)
    model.train()
    with torch.no_grad():
        for _ in range(20):
            model(images)
    return model.eval()


def real_images(count: int, size: int, photos: Path | None) -> Tensor:
    fed = Preprocessing(size=(size, size), channels=3, mean=MEAN, std=STD, fit="crop")
    if photos is None:
        store = find_source("digits").open("train")
        return preprocess(store.read(np.arange(count)), fed)
    files = list_files(photos)[:count]
    return torch.cat([preprocess([decode_file(file, 3, fed.min_side)], fed) for file in files])


def given(setting: Setting) -> tuple[nn.Module, Tensor, tuple[int, int, int]]:
    """The network, the images (N, 3, H, W), and the size of one."""
    model = build(setting.name)
    model.load_state_dict(torch.load(setting.weights, weights_only=True))
    side = model.config.input_size
    return model.eval(), real_images(setting.count, side, setting.photos), (3, side, side)


def plain(setting: Setting) -> tuple[Step, str]:
    model, images, _ = given(setting)

    def step(start: int, stop: int) -> np.ndarray:
        with torch.inference_mode():
            return torch.cat([model(part) for part in images[start:stop].split(setting.batch)]).numpy()

    return step, "plain"


def ours(setting: Setting, engine: EngineName) -> tuple[Step, str]:
    model, images, size = given(setting)
    ready = open_engine(model, size, EngineConfig(name=engine, precision=setting.precision, batch_size=setting.batch))

    def step(start: int, stop: int) -> np.ndarray:
        return np.concatenate(list(ready.stream(images[start:stop].split(setting.batch))))

    return step, str(ready.about)


def onnx_runtime_directly(setting: Setting) -> tuple[Step, str]:
    model, images, size = given(setting)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    session = onnxruntime.InferenceSession(onnx_bytes(model, size), options, providers=["CPUExecutionProvider"])

    def step(start: int, stop: int) -> np.ndarray:
        parts = images[start:stop].split(setting.batch)
        return np.concatenate([session.run(None, {"images": part.numpy()})[0] for part in parts])

    return step, ""


def openvino_directly(setting: Setting) -> tuple[Step, str]:
    model, images, size = given(setting)
    core = openvino.Core()
    network = core.read_model(onnx_bytes(model, size))
    network.reshape([1, *size])
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "THROUGHPUT" if setting.batch > 1 else "LATENCY"}
    if setting.precision != "auto":
        settings["INFERENCE_PRECISION_HINT"] = {"bf16": "bf16", "float32": "f32"}[setting.precision]
    compiled = core.compile_model(network, "CPU", settings)
    pixels, queue = images.numpy(), openvino.AsyncInferQueue(compiled)
    found: dict[int, np.ndarray] = {}
    queue.set_callback(lambda request, row: found.__setitem__(row, request.get_output_tensor(0).data[0].copy()))

    def one(start: int, stop: int) -> np.ndarray:
        return np.concatenate([compiled(pixels[row : row + 1])[0] for row in range(start, stop)])

    def many(start: int, stop: int) -> np.ndarray:
        for row in range(start, stop):
            queue.start_async({0: pixels[row : row + 1]}, row)
        queue.wait_all()
        return np.stack([found[row] for row in range(start, stop)])

    return one if setting.batch == 1 else many, ""


def quartiles(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def agreement(arms: dict[str, Arm], count: int) -> None:
    expected = arms["plain"](0, count)[1]
    for name, arm in arms.items():
        found = arm(0, count)[1]
        apart = np.abs(softmax(found) - softmax(expected)).max()
        same = (found.argmax(1) == expected.argmax(1)).mean()
        print(f"  {name:58} top-1 agrees on {100 * same:.1f} % of {count}, |dp| <= {apart:.1e}")


if __name__ == "__main__":
    main()
