"""Write docs/models: a page for each family of networks, with drawings of its blocks, and an index.

python docs/make_model_pages.py

Everything comes from the package: prose from the family's module, figures from lenext.papers, drawings from the
networks while they run, costs from the command. Only which blocks are drawn is decided here. A family without rows has
no page.
"""

import contextlib
import importlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch

from lenext.cli import main as run_command
from lenext.explain.graph import trace_block
from lenext.models.catalog import FAMILIES, NETWORKS, VARIANTS, build, get_config
from lenext.papers import PaperRow, load_papers
from lenext.reporting.diagram import draw_block

FOLDER = Path(__file__).parent / "models"


@dataclass(frozen=True)
class Block:
    """A drawing: of which row, which place, under which caption; depth: what lies deeper is one box."""

    row: str
    place: str
    caption: str
    depth: int | None = None

    @property
    def file(self) -> str:
        """Name of its SVG file."""
        return f"{self.row}-{self.place}.svg"


@dataclass(frozen=True)
class Page:
    """A family's page: its name in the papers, its blocks, whose first row also shows the cost, and its modules."""

    title: str
    blocks: tuple[Block, ...]
    modules: tuple[str, ...] = ()


# fmt: off
PAGES = {
    "lenet": Page("LeNet", (
        Block("lenet5", "stages.c3", "C3 of LeNet-5: each map reads some of the six below it (Table I).", depth=1),
        Block("lenet5_relu", "stages.c1", "C1 in a dense form of today."),
    )),
    "alexnet": Page("AlexNet", (
        Block("alexnet", "stages.conv1", "The first layer."),
        Block("alexnet", "head", "The head."),
    )),
    "zfnet": Page("ZFNet", (
        Block("zfnet_a", "stages.conv1", "The first layer: 7x7 with stride 2 (Figure 3)."),
        Block("zfnet_a", "stages.pool1", "Its pool, and the normalisation behind it."),
        Block("zfnet_a", "head", "The head, which is AlexNet's."),
    )),
    "nin": Page("NiN", (
        Block("nin_cifar10", "stages.mlpconv1", "An MLP convolution (Figure 1b): a small perceptron on each patch."),
        Block("nin_cifar10_paper", "head", "The head as published: a rectified map for each class, and its average."),
    )),
    "vgg": Page("VGG", (
        Block("vgg16", "stages.conv3", "The third group of configuration D."),
        Block("vgg16_bn", "stages.conv1", "The first group with batch normalisation."),
        Block("vgg16", "head", "The head: where most of the parameters are."),
    )),
    "googlenet": Page("GoogLeNet", (
        Block("googlenet", "stages.3a", "An Inception module (Figure 2b): four branches side by side."),
        Block("googlenet", "auxiliary.4a", "The auxiliary head on 4a, which only training uses."),
    )),
    "bninception": Page("BN-Inception", (
        Block("bninception_paper", "stages.3a", "A module (Figure 5): two 3x3 convolutions in place of a 5x5."),
        Block("bninception_paper", "stages.3c", "A module that halves the map: its pool hands on what it reads."),
    )),
    "inceptionv3": Page("Inception v3", (
        Block("inception_v3", "stages.5b", "Figure 5: a 5x5 convolution as two of 3x3."),
        Block("inception_v3", "stages.6b", "Figure 6: 7x7 as 1x7 and 7x1."),
        Block("inception_v3", "stages.7b", "Figure 7: branches that fork once more."),
    )),
    "inceptionv4": Page("Inception v4 and Inception-ResNet", (
        Block("inception_v4", "stages.inception_a.0", "Inception-A (Figure 4)."),
        Block("inception_v4", "stages.inception_c.0", "Inception-C (Figure 6)."),
        Block("inception_v4", "stages.reduction_a", "A reduction: convolutions with stride beside a pool."),
        Block("inception_resnet_v2", "stages.inception_resnet_a.0", "Inception-ResNet-A: a scaled sum with the input."),
    ), modules=("inceptionv4", "inception_resnet")),
    "resnet": Page("ResNet", (
        Block("resnet50", "stages.conv2_x.2", "A bottleneck (Figure 5, right)."),
        Block("resnet50", "stages.conv3_x.0", "The first bottleneck of a stage: the shortcut is a projection."),
        Block("resnet18", "stages.conv2_x.1", "A basic block (Figure 5, left)."),
        Block("resnet20", "stages.conv3_x.0", "Shortcut option A: every other pixel, and zero channels."),
    )),
    "stochdepth": Page("Stochastic depth", (
        Block("stochdepth_resnet_110", "stages.conv2_x.1", "A block, with the drop path that only training uses."),
    )),
    "preact": Page("Pre-activation ResNet", (
        Block("preact_resnet164", "stages.conv2_x.1", "Full pre-activation: nothing stands between two sums."),
        Block("preact_resnet164", "stages.conv3_x.0", "The first block of a stage."),
    )),
    "wrn": Page("Wide ResNet", (
        Block("wrn_28_10", "stages.conv2_x.1", "A wide basic block, pre-activated."),
        Block("wrn_28_10", "stages.conv3_x.0", "The first block of a group."),
    )),
    "resnext": Page("ResNeXt", (
        Block("resnext50_32x4d", "stages.conv2_x.1", "A bottleneck with 32 groups (Figure 3c)."),
    )),
    "densenet": Page("DenseNet", (
        Block("densenet121", "stages.block1.layer2", "A layer of a dense block hands on what it took, and more."),
        Block("densenet121", "stages.transition1", "A transition."),
    )),
    "senet": Page("SENet", (
        Block("seresnet50", "stages.conv2_x.1", "A bottleneck with squeeze and excitation before the sum."),
        Block("seresnet50", "stages.conv2_x.1.se", "Squeeze and excitation: a gate for each channel."),
    )),
    "mobilenetv1": Page("MobileNet", (
        Block("mobilenet_v1_1_224", "stages.2", "Depthwise separable convolutions (Figure 3, right)."),
    )),
    "mobilenetv2": Page("MobileNetV2", (
        Block("mobilenetv2_100", "stages.2.1", "An inverted residual; its last convolution is linear."),
        Block("mobilenetv2_100", "stages.2.0", "With stride 2, and hence without a shortcut."),
    )),
    "mobilenetv3": Page("MobileNetV3", (
        Block("mobilenetv3_large_100", "stages.3.1", "An inverted residual with squeeze and excitation."),
        Block("mobilenetv3_large_100", "stages.3.1.layers.squeeze", "The gate, which opens by a hard sigmoid."),
        Block("mobilenetv3_large_100", "head", "The head: the last layer works on one pixel."),
    )),
    "nasnet": Page("NASNet", (
        Block("nasnet_a_mobile", "stages.normal_1.cell_5", "The normal cell of NASNet-A (Figure 4).", depth=2),
        Block("nasnet_a_mobile", "stages.reduction_1.cell", "The reduction cell of NASNet-A (Figure 4).", depth=2),
    )),
    "amoebanet": Page("AmoebaNet", (
        Block("amoebanet_a_mobile", "stages.normal_1.cell_5", "The normal cell of AmoebaNet-A (Figure 5).", depth=2),
        Block("amoebanet_a_mobile", "stages.reduction_1.cell", "The reduction cell of AmoebaNet-A.", depth=2),
        Block("amoebanet_d_f256", "stages.normal_1.cell_7", "The normal cell of AmoebaNet-D.", depth=2),
    )),
    "enas": Page("ENAS", (
        Block("enas_micro", "stages.layer_7.cell", "The normal cell that the release trains.", depth=2),
        Block("enas_micro", "stages.layer_11.cell", "Its reduction cell.", depth=2),
    )),
    "efficientnet": Page("EfficientNet", (
        Block("efficientnet_b0", "stages.3.1", "MBConv6: an inverted residual with squeeze and excitation."),
        Block("efficientnet_b0", "stages.3.1.layers.squeeze", "Squeeze and excitation."),
    )),
    "efficientnetv2": Page("EfficientNetV2", (
        Block("tf_efficientnetv2_s", "stages.2.1", "Fused-MBConv: one 3x3 convolution expands and filters (Figure 2)."),
        Block("tf_efficientnetv2_s", "stages.4.1", "MBConv (Figure 2)."),
    )),
    "convnext": Page("ConvNeXt", (
        Block("convnext_tiny", "stages.res3.1", "A block (Figure 4)."),
        Block("convnext_tiny", "stem", "The stem cuts the image into patches."),
    )),
    "convnextv2": Page("ConvNeXt V2", (
        Block("convnextv2_tiny", "stages.res3.1", "A block: response normalisation in place of the layer scale."),
    )),
}
# fmt: on


def pages() -> dict[str, str]:
    """Every file of docs/models by its name: the index, a page a family, the drawings."""
    files = {"README.md": index()}
    for family in families():
        files[f"{family}.md"] = family_page(family)
        files |= {block.file: drawing(block) for block in PAGES[family].blocks}
    return files


def families() -> list[str]:
    """The families that have rows, published figures and networks."""
    papers = {row.family for row in load_papers().values()}
    built = [
        name for name, family in FAMILIES.items() if {type(row) for row in family.variants.values()} <= {*NETWORKS}
    ]
    return [name for name in built if name in papers and FAMILIES[name].variants]


def rows_of(family: str) -> list[PaperRow]:
    """The family's rows in the order of its table."""
    papers = load_papers()
    return [papers[name] for name in FAMILIES[family].variants]


def index() -> str:
    """The list of families, oldest first as in the catalog."""
    lines = [
        "# Networks",
        "",
        "A page a family: what the paper says, drawings of its blocks, its networks, where popular code differs.",
        "Made by `make docs`; every figure is one of `lenext/papers` or printed by a command.",
        "",
        "| family | year | paper | networks | parameters |",
        "|---|---|---|---|---|",
    ]
    for family in families():
        rows = rows_of(family)
        first = rows[0]
        counts = sorted(row.params for row in rows)
        span = f"{short(counts[0])} to {short(counts[-1])}" if counts[0] != counts[-1] else short(counts[0])
        link = f"[{PAGES[family].title}]({family}.md)"
        lines.append(f"| {link} | {first.year} | {paper_link(first)} | {len(rows)} | {span} |")
    return "\n".join([*lines, ""])


def family_page(family: str) -> str:
    """The page of one family."""
    page, rows = PAGES[family], rows_of(family)
    parts = [f"# {page.title}", *citations(rows)]
    for i, module in enumerate(page.modules or (family,)):
        parts.append(prose(importlib.import_module(f"lenext.models.{module}").__doc__ or "", cited=i == 0))
    parts += ["## Networks", network_table(family, rows), "## Blocks"]
    for block in page.blocks:
        command = f"lenext explain block {block.row} {block.place}" + (f" --depth {block.depth}" if block.depth else "")
        parts += [f"![{block.row} {block.place}: {block.caption}]({block.file})", f"{block.caption} `{command}`"]
    if errors := error_table(rows):
        parts += ["## Reported errors", errors]
    if told := differences(rows):
        parts += ["## Differences between the paper and popular code", told]
    return "\n\n".join([*parts, "## Cost", cost(page.blocks[0].row)]) + "\n"


def citations(rows: Sequence[PaperRow]) -> Iterator[str]:
    """Each paper of the rows once."""
    yield from dict.fromkeys(f"{row.authors} et al., {paper_link(row)}. {row.venue}." for row in rows)


def paper_link(row: PaperRow) -> str:
    """The title, with the address of the arXiv's page where the paper is there."""
    return f"[{row.title}](https://arxiv.org/abs/{row.arxiv})" if row.arxiv else row.title


def prose(doc: str, *, cited: bool = False) -> str:
    """A module's docstring as Markdown: its paragraphs, and its columns "name   explanation" as lists.

    cited: the page has named the paper, so that a first sentence that does no more is left out.
    """
    blocks = re.split(r"\n\s*\n", doc.strip())
    if cited:
        blocks[0] = re.sub(r'^[^(]+\([^()]*"[^()]*\)\.\s*', "", blocks[0])
    return "\n\n".join(paragraph(block.split("\n")) for block in blocks if block)


def paragraph(lines: Sequence[str]) -> str:
    """Lines as Markdown; those that are indented are a list, whose first item tells where explanations begin."""
    told: list[str] = []
    first: re.Match[str] | None = None
    for line in lines:
        first = first or re.match(r"^( +)(\S.*?) {2,}(?=\S)", line)
        indent = len(line) - len(line.lstrip())
        if first and indent == len(first[1]):
            item = re.match(r"^ +(\S.*?) {2,}(\S.*)$", line)
            end = line.find(" ", first.end() - 1)  # a name as long as the column ends with the next space
            name, words = (item[1], item[2]) if item else (line[:end], line[end:])
            told += [] if told and told[-1].startswith("- ") else [""]
            told.append(f"- {named(name.strip())}: {marked(words.strip())}")
        elif first and indent and told:
            told[-1] += " " + marked(line.strip())
        else:
            told += [""] if told and told[-1].startswith("- ") else []
            told.append(marked(line.strip()))
    return "\n".join(told).strip()


def named(text: str) -> str:
    """The name of an item: code where it names networks, else strong."""
    return f"**{text}**" if re.fullmatch(r"[A-Za-z ]+", text) and text not in VARIANTS else f"`{text}`"


def marked(text: str) -> str:
    """Plain text with names and formulas as code, so that Markdown leaves their signs alone."""
    parts = re.split(r"(`[^`]*`)", text)
    word = re.compile(r"(?<![\w*`])[\w*.]*(?:_|\*)[\w*.]*[\w*]")
    told = [part if part.startswith("`") else word.sub(lambda found: f"`{found[0]}`", part) for part in parts]
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;").replace("|", "\\|") for part in told)


def network_table(family: str, rows: Sequence[PaperRow]) -> str:
    """Every row of the family with what is published of it."""
    auxiliary = any(row.auxiliary_params for row in rows)
    aliases: dict[str, list[str]] = {}
    for alias, name in FAMILIES[family].aliases.items():
        aliases.setdefault(name, []).append(alias)
    heads = [
        "network",
        "year",
        "parameters",
        "MACs",
        "input",
        "smallest input",
        "top-1 error",
        "the same function as",
    ]
    if auxiliary:
        heads.insert(3, "auxiliary heads")
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in rows:
        also = "".join(f", `{alias}`" for alias in aliases.get(row.name, ()))
        smallest = get_config(row.name).min_size
        cells = [f"`{row.name}`{also}", str(row.year), f"{row.params:,}", f"{row.macs:,}"]
        cells += ["x".join(map(str, row.input_size)), f"{smallest}x{smallest}"]
        cells += [first_error(row), peers(row)]
        if auxiliary:
            cells.insert(3, f"{row.auxiliary_params:,}" if row.auxiliary_params else "-")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def first_error(row: PaperRow) -> str:
    """The first reported top-1 error with the protocol that it needs to be compared with another."""
    told = next((result for result in row.results if result.top1_error is not None), None)
    return "-" if told is None else marked(f"{told.top1_error:g} % ({told.protocol})")


def error_table(rows: Sequence[PaperRow]) -> str:
    """Every reported error of the rows, "" where there is none."""
    lines = ["| network | top-1 | top-5 | images | protocol | source |", "|---|---|---|---|---|---|"]
    for row in rows:
        for result in row.results:
            errors = ["" if e is None else f"{e:g} %" for e in (result.top1_error, result.top5_error)]
            seen = "" if result.verified else ", seen second-hand only"
            cells = [*errors, result.dataset, marked(result.protocol), marked(result.source) + seen]
            lines.append(f"| `{row.name}` | {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def peers(row: PaperRow) -> str:
    """What the network is called elsewhere."""
    names = [("torchvision", row.torchvision), ("timm", row.timm), ("release", row.original)]
    return "<br>".join(f"{where} `{name}`" for where, name in names if name) or "-"


def differences(rows: Sequence[PaperRow]) -> str:
    """What differs, each said once, under the networks of which it is said."""
    said: dict[str, list[str]] = {}
    for row in rows:
        for line in row.differences:
            said.setdefault(line, []).append(row.name)
    groups: dict[tuple[str, ...], list[str]] = {}
    for line, names in said.items():
        groups.setdefault(tuple(names), []).append(line)
    parts = []
    for group, lines in groups.items():
        who = "All networks" if len(group) == len(rows) else ", ".join(f"`{name}`" for name in group)
        parts.append("\n".join([f"{who}:", "", *(f"- {marked(line)}" for line in lines)]))
    return "\n\n".join(parts)


def cost(name: str) -> str:
    """What `lenext cost` prints of the network on 120 columns, with the command."""
    printed = io.StringIO()
    wide = mock.patch.dict(os.environ, COLUMNS="120")
    with wide, contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        run_command(["cost", name, "--depth", "2"])
    return f"```console\n$ lenext cost {name} --depth 2\n{printed.getvalue()}```"


def drawing(block: Block) -> str:
    """The block as SVG at the paper's size."""
    with torch.device("meta"):
        network = build(block.row)
    config = network.config
    size = (config.in_channels, config.input_size, config.input_size)
    graph = trace_block(network, block.place, size, depth=block.depth)
    return draw_block(graph, f"{block.row}: {block.place}")


def short(count: int) -> str:
    """Parameters in the usual units: 61.7 k, 25.6 M."""
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e3:.1f} k"


def write_pages() -> None:
    """Write what differs, and remove what is no longer made."""
    FOLDER.mkdir(exist_ok=True)
    files = pages()
    for old in FOLDER.iterdir():
        if old.suffix in (".md", ".svg") and old.name not in files:
            old.unlink()
    for name, content in files.items():
        path = FOLDER / name
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    write_pages()
