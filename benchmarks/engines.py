"""Images a second and milliseconds an image of each prediction engine, beside peers driven directly, and how far apart.

    python -m benchmarks.engines --models resnet18,resnet50 --seconds 20 --threads 2 [--quick]

Every engine and peer of a network runs in one process, in turns; so the plain network gains too from the memory that
torch's engines have the process keep (benchmarks/allocator.py tells how much). Peers: the plain network (eager,
float32, contiguous, evaluation mode), OpenVINO by its own AsyncInferQueue with the hint THROUGHPUT (LATENCY for one
image), ONNX Runtime; both read the network unfolded, as torch exports it. Ratios are of one turn, told as median and
quartiles. Scores are compared on 1,000 real photographs' crops where `--photos FOLDER` names them, else on the digits,
enlarged.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import torch
from torch import Tensor, nn

from lenext.data.decode import decode_file
from lenext.data.listing import list_files
from lenext.data.preprocessing import Preprocessing, preprocess
from lenext.data.sources import find_source
from lenext.device import cores
from lenext.evaluation.choosing import open_engine
from lenext.evaluation.engines import Engine, EngineConfig
from lenext.exporting.onnx import onnx_bytes
from lenext.models.catalog import build
from lenext.predictions import softmax

MODELS = "resnet18,resnet50,mobilenetv2_100,convnext_tiny"
Run = Callable[[Tensor], np.ndarray]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--engines", default="eager,compile,openvino,onnxruntime")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--seconds", type=float, default=60, help="of timing, for each network and each of two sizes")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--quick", action="store_true", help="one network of 32x32 images, without the compiler")
    args = parser.parse_args()
    if args.quick:
        args.models, args.engines, args.seconds, args.images = "resnet20", "eager,openvino,onnxruntime", 4, 200
    torch.set_num_threads(args.threads)
    for name in args.models.split(","):
        compare(name, args)


def compare(name: str, args: argparse.Namespace) -> None:
    model = settled(build(name))
    size = model.config.input_size
    images = real_images(args.images, size, args.photos)
    print(f"\n{name}, {size}x{size}, {args.threads} threads, torch {torch.__version__}")
    for batch in (args.batch, 1):
        runs = dict(contenders(model, size, batch, args))
        count = 2 * batch if batch > 1 else 1  # a stream of two batches
        ratios, seconds = timed(runs, images[:count], args.seconds)
        print(f"  batch {batch}")
        for who, took in seconds.items():
            each = [1000 * one / count for one in took]
            print(
                f"    {who:40} {count / statistics.median(took):9.1f} images/s  {quartiles(each)} ms an image"
                f"  x plain {quartiles(ratios[who]['plain'])}  x OpenVINO {quartiles(ratios[who]['OpenVINO'])}"
                f"  n = {len(took)}"
            )
        if batch > 1:
            agreement(runs, images, batch)


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


def contenders(model: nn.Module, size: int, batch: int, args: argparse.Namespace) -> Iterator[tuple[str, Run]]:
    def plain(images: Tensor) -> np.ndarray:
        with torch.inference_mode():
            return model(images).numpy()

    yield "plain", plain
    content = onnx_bytes(model, (3, size, size))
    yield "OpenVINO", openvino_directly(content, (3, size, size), batch, args)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    yield "ONNX Runtime", lambda images: session.run(None, {"images": images.numpy()})[0]
    for name in args.engines.split(","):
        start = time.perf_counter()
        config = EngineConfig(name=name, precision=args.precision, batch_size=batch, thread_count=args.threads)
        engine = open_engine(model, (3, size, size), config)
        print(f"    {engine.about}: prepared in {time.perf_counter() - start:.1f} s")

        def run(images: Tensor, engine: Engine = engine) -> np.ndarray:
            return np.concatenate(list(engine.stream(images.split(batch))))

        yield f"lenext {engine.about}", run


def openvino_directly(content: bytes, size: tuple[int, ...], batch: int, args: argparse.Namespace) -> Run:
    core = openvino.Core()
    network = core.read_model(content)
    network.reshape([1, *size])
    settings = {"PERFORMANCE_HINT": "THROUGHPUT" if batch > 1 else "LATENCY", "INFERENCE_NUM_THREADS": args.threads}
    if args.precision != "auto":
        settings["INFERENCE_PRECISION_HINT"] = {"bf16": "bf16", "float32": "f32"}[args.precision]
    compiled = core.compile_model(network, "CPU", settings)
    if batch == 1:
        return lambda images: compiled(images.numpy())[0]
    queue = openvino.AsyncInferQueue(compiled)
    found: dict[int, np.ndarray] = {}
    queue.set_callback(lambda request, row: found.__setitem__(row, request.get_output_tensor(0).data[0].copy()))

    def run(images: Tensor) -> np.ndarray:
        given = images.numpy()
        for row in range(len(given)):
            queue.start_async({0: given[row : row + 1]}, row)
        queue.wait_all()
        return np.stack([found[row] for row in range(len(given))])

    return run


def timed(
    runs: dict[str, Run], images: Tensor, seconds: float
) -> tuple[dict[str, dict[str, list[float]]], dict[str, list[float]]]:
    for run in runs.values():
        run(images), run(images)
    took: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(took["plain"]) < 5:
        for name, run in runs.items():
            start = time.perf_counter()
            run(images)
            took[name].append(time.perf_counter() - start)
    peers = ("plain", "OpenVINO")
    ratios = {
        name: {peer: [a / b for a, b in zip(took[peer], mine, strict=True)] for peer in peers}
        for name, mine in took.items()
    }
    return ratios, took


def quartiles(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def agreement(runs: dict[str, Run], images: Tensor, batch: int) -> None:
    expected = np.concatenate([runs["plain"](part) for part in images.split(batch)])
    for name, run in runs.items():
        found = np.concatenate([run(part) for part in images.split(batch)])
        apart = np.abs(softmax(found) - softmax(expected)).max()
        same = (found.argmax(1) == expected.argmax(1)).mean()
        print(f"    {name:40} top-1 agrees on {100 * same:.1f} % of {len(images)}, |dp| <= {apart:.1e}")


if __name__ == "__main__":
    main()
