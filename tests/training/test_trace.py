"""Twenty updates give the losses that they gave: to the bit where processor and torch are the same, else nearly."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from lenext.data.batches import Variation, train_batches
from lenext.data.config import AugmentConfig
from lenext.data.ordering import epoch_order
from lenext.data.preprocessing import Preprocessing
from lenext.device import SpeedPlan
from lenext.models.catalog import build
from lenext.training.config import OptimizerConfig, TrainingConfig

from .pieces import DIGITS, make_state, run_steps

GOLDEN = Path(__file__).parents[1] / "golden" / "loss_trace.json"
NETWORKS = {  # ResNet-20 turns the rounding of float32 into a hundredth of its loss within the twenty updates
    "lenet5_relu": torch.float32,
    "resnet20": torch.float64,
    "convnext_atto_small": torch.float32,
}
STEPS, BATCH, SIDE = 20, 16, 28
RATE = 0.01
CLOSE = 1e-4  # between two processors, whose kernels sum in other orders


def environment() -> dict[str, str]:
    """What decides the bits: torch's build, the processor and what of it torch uses."""
    lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()]
    told = {key.strip(): value.strip() for key, _, value in lines}
    processor = " ".join(told.get(key, "") for key in ("model name", "cpu family", "model", "stepping"))
    return {"torch": torch.__version__, "processor": processor, "uses": torch.backends.cpu.get_cpu_capability()}


def losses(name: str) -> list[float]:
    kind = NETWORKS[name]
    state = make_state(build(name, num_classes=10, in_channels=1).to(kind), OptimizerConfig(rate=RATE))
    order = epoch_order(DIGITS, seed=0, epoch=0)
    preprocessing = Preprocessing(size=(SIDE, SIDE), channels=1, mean=(0.3,), std=(0.4,))
    found = train_batches(
        DIGITS, preprocessing, Variation(AugmentConfig(), 10), order, seed=0, epoch=0, batch_size=BATCH
    )
    data = [dataclasses.replace(batch, images=batch.images.to(kind)) for batch in found]
    plan = SpeedPlan(device="cpu", precision="float32", channels_last=True, threads=1)
    config = TrainingConfig(optimizer=OptimizerConfig(rate=RATE))
    return [step.loss for step in run_steps(state, data[:STEPS], config, plan=plan, total=STEPS)]


@pytest.mark.parametrize("name", NETWORKS)
def test_twenty_updates_give_the_losses_that_they_gave(name: str, request: pytest.FixtureRequest) -> None:
    found, stored = losses(name), json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    if request.config.getoption("--update-golden"):
        stored |= {"environment": environment(), name: found}
        GOLDEN.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    if stored["environment"] == environment():
        assert found == stored[name]
    else:
        assert found == pytest.approx(stored[name], rel=CLOSE)
    assert len(found) == STEPS and found[-1] < found[0]
