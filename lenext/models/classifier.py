"""The base of every network: images in, scores out, and a flat chain of named places in between."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from lenext.config import nearest
from lenext.errors import UsageError

RATES = ("dropout", "drop_path", "auxiliary_dropout")  # fields of families' rows


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """What every family's row says about itself.

    input_size: side in pixels of the paper's input, at which the published figures hold. min_size, max_size: the
    sides that the network accepts; max_size None is no limit. A size never changes the topology.
    """

    num_classes: int = 1000
    in_channels: int = 3
    input_size: int = 224
    min_size: int = 32
    max_size: int | None = None

    def __post_init__(self) -> None:
        for field in ("num_classes", "in_channels", "min_size"):
            if getattr(self, field) < 1:
                raise UsageError(
                    f"cannot build a network with {field} = {getattr(self, field)}",
                    why="it counts classes, channels or pixels",
                    advice=f"{field}=1 or more",
                )
        for field in RATES:
            if not 0 <= getattr(self, field, 0.0) < 1:
                raise UsageError(
                    f"cannot build a network with {field} = {getattr(self, field)}",
                    why="it is the probability to drop",
                    advice=f"{field}=0.2, at least 0 and below 1",
                )
        if not self.accepts(self.input_size):
            raise UsageError(
                f"cannot build the network for {self.input_size} x {self.input_size} pixels",
                why=f"it takes {self.sizes()}",
                advice=f"input_size={self.min_size}",
            )

    def accepts(self, size: int) -> bool:
        """Whether a side of `size` pixels is within the row's limits."""
        return size >= self.min_size and (self.max_size is None or size <= self.max_size)

    def sizes(self) -> str:
        """The accepted sizes in words, smallest first."""
        if self.max_size is None:
            return f"{self.min_size} x {self.min_size} pixels and larger"
        if self.max_size == self.min_size:
            return f"{self.min_size} x {self.min_size} pixels exactly"
        return f"{self.min_size} to {self.max_size} pixels a side"


class Classifier(nn.Module):
    """A network as `stem`, `stages` and `head`; a family's class fills in the three.

    `stages` is a flat chain under the paper's names. A network whose paper has no stem has an empty one
    (nn.Identity), which is no place. Every place is addressed by its dotted module name: "stem",
    "stages.conv4_x", "head". A stage may hand on a pair (current, previous), as cells with two predecessors do.

    `auxiliary` holds the heads that only training uses, each under the name of the stage that it reads. `forward`
    never runs them, and the network's published parameters are those without them.
    """

    config: NetworkConfig
    stem: nn.Module
    stages: nn.Sequential
    head: nn.Module
    auxiliary: nn.ModuleDict

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.auxiliary = nn.ModuleDict()

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N, num_classes) of images (N, in_channels, H, W); a UsageError where the size does not fit."""
        self._check(images)
        x: Tensor = self.head(self.stages(self.stem(images)))
        return x

    def features(self, images: Tensor, taps: Sequence[str] = ()) -> dict[str, Tensor]:
        """Return the tensor at each tapped place, computing nothing behind the last of them.

        Without taps, the output of the last stage. The tensor at "head" is the scores. An unknown place is a
        UsageError with the nearest name.
        """
        places = self.places()
        wanted = set(taps) or {[place for place in places if place != "head"][-1]}
        for tap in wanted.difference(places):
            raise UsageError(f"unknown place {tap!r}", why="the network has no such place", advice=nearest(tap, places))
        self._check(images)
        found: dict[str, Tensor] = {}
        x: Tensor | tuple[Tensor, Tensor] = images
        for place, module in self._chain():
            x = module(x)
            if place in wanted:
                found[place] = x if isinstance(x, Tensor) else x[0]  # of a pair the current one
            if len(found) == len(wanted):
                break
        return found

    def places(self) -> list[str]:
        """The dotted names of the chain, in the order in which an image passes them."""
        return [place for place, _ in self._chain()]

    def _chain(self) -> Iterator[tuple[str, nn.Module]]:
        if not isinstance(self.stem, nn.Identity):
            yield "stem", self.stem
        for name, stage in self.stages.named_children():
            yield f"stages.{name}", stage
        yield "head", self.head

    def _check(self, images: Tensor) -> None:
        config = self.config
        if images.ndim != 4 or images.shape[1] != config.in_channels:
            raise UsageError(
                f"cannot classify a tensor of shape {tuple(images.shape)}",
                why=f"the network takes images as (N, {config.in_channels}, height, width)",
                advice=f"convert the images, or build the network with in_channels={images.shape[1:2].numel()}",
            )
        height, width = images.shape[2:]
        if not (config.accepts(height) and config.accepts(width)):
            raise UsageError(
                f"cannot classify images of {height} x {width} pixels",
                why=f"the network takes {config.sizes()}",
                advice=f"pad or resize the images to {config.min_size} x {config.min_size}",
            )


def output_layers(names: Iterable[str]) -> list[str]:
    """The layers whose outputs are the classes, from the names of a network's tensors: the head's, then auxiliary ones.

    Each is the last layer with a weight of its head; they are what other classes make new.
    """
    last: dict[str, str] = {}
    for name in names:
        layer, _, tensor = name.rpartition(".")
        words = layer.split(".")
        if tensor == "weight" and words[0] in ("head", "auxiliary"):
            last[words[0] if words[0] == "head" else ".".join(words[:2])] = layer
    return sorted(last.values(), key=lambda layer: not layer.startswith("head"))
