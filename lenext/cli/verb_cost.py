"""`lenext cost`: what a network, a run or a checkpoint costs, before anybody pays it."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from lenext.cli import cost_answers
from lenext.cli.cost_options import LAYERS, USUAL_FORM, Form, Question
from lenext.errors import UsageError

if TYPE_CHECKING:
    from lenext.costs.subject import Subject

SUFFIXES = (".svg", ".png", ".html")


def show_cost(
    model: str = "",
    *,
    spec: str = "",
    explain: bool = False,
    size: str = "",
    classes: int = 0,
    batch: int | None = None,
    asked: Question = LAYERS,
    form: Form = USUAL_FORM,
) -> None:
    """Count parameters and multiply-accumulates (MACs) layer by layer, and the pixels that a place of each sees.

    On a terminal a tree; piped, the layers exact and separated by tabs, and the totals on stderr.

    Parameters
    ----------
    model
        A network's name, a run or a checkpoint folder, file.py:factory, or an .onnx file.
    spec
        In place of a model, a chain of layers: "100x100x3: conv9x9-48 relu, maxpool2 stride2, fc100".
    explain
        With --spec, and nothing else: the formula behind every number.
    size
        Height and width of the image in pixels, or all its sides as 3x224x160; the paper's or the run's unless told.
    classes
        Number of classes; the paper's unless told otherwise.
    batch
        Images at once: 1 unless told otherwise, with --memory and --latency 32, with --effective 8.
    """
    of_model = bool(size or classes or batch is not None)
    _refuse_first({
        "a model or --spec is asked for, one of them": bool(model) == bool(spec),
        "--explain is for --spec": explain and not spec,
        "--size, --classes and --batch are for a model": bool(spec) and of_model,
        "--batch is not for --advise": asked.advise and batch is not None,
        "a batch has images": batch is not None and batch < 1,
        **_contradictions(asked, form, spec=bool(spec)),
        "an ONNX file is counted and not run, one image as it stands": model.endswith(".onnx")
        and (asked != LAYERS or bool(classes) or batch is not None),
    })  # fmt: skip
    if spec:
        cost_answers.show_spec(spec, explain=explain, json=form.json)
    elif model.endswith(".onnx"):
        from lenext.costs.subject import cost_of

        cost_answers.give_layers(model, cost_of(model, _sides(size)), (), form)
    else:
        from lenext.costs.subject import find_subject

        subject = find_subject(model, size=_sides(size), classes=classes, data=asked.latency or asked.effective)
        with _fitting(subject):
            _answer(subject, batch, asked, form)


@contextlib.contextmanager
def _fitting(subject: "Subject") -> Iterator[None]:
    """A network of one's own says in torch's words that an image does not fit."""
    from lenext.models.classifier import Classifier

    try:
        yield
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if isinstance(subject.model, Classifier):
            raise
        size = "x".join(map(str, subject.input_size))
        why = f"{type(error).__name__}: {str(error).splitlines()[0]}" if str(error) else type(error).__name__
        raise UsageError(
            f"cannot run {subject.name} on {size}", why=why, advice="--size 3x32x32, as it takes"
        ) from error


def _answer(subject: "Subject", batch: int | None, asked: Question, form: Form) -> None:
    if asked.latency:
        cost_answers.show_latency(subject, 32 if batch is None else batch, form)
    elif asked.memory:
        cost_answers.show_memory(subject, 32 if batch is None else batch, asked, json=form.json)
    elif asked.effective:
        cost_answers.show_effective(subject, 8 if batch is None else batch, json=form.json)
    elif asked.advise:
        cost_answers.show_advice(subject, json=form.json)
    else:
        cost_answers.show_layers(subject, 1 if batch is None else batch, form, train=asked.train)


def _contradictions(asked: Question, form: Form, *, spec: bool) -> dict[str, bool]:
    """Options that do nothing beside each other."""
    deep = form.depth is not None and not asked.latency
    of_layers = asked.train or form.csv or form.plot is not None or deep
    return {
        "--spec, --memory, --latency, --effective, --advise and the layers are six answers": (
            spec + asked.memory + asked.latency + asked.effective + asked.advise + of_layers > 1
        ),
        "--plot draws into an .svg, .png or .html file": (
            form.plot is not None and form.plot.suffix.lower() not in SUFFIXES
        ),
        "--optimizer, --precision, --within and --device are for --memory": not asked.memory and asked.of_memory,
        "--within and --device are two limits": bool(asked.within and asked.device),
        "--device knows float32 alone": bool(asked.device) and asked.precision == "bf16",
        "--json, --csv and --depth are three forms": form.json + form.csv + (form.depth is not None) > 1,
    }


def _refuse_first(reasons: Mapping[str, bool]) -> None:
    """An option that would do nothing is refused, for the first reason that holds."""
    for reason, holds in reasons.items():
        if holds:
            advice = "lenext cost resnet50, or lenext cost --spec '32x32x3: conv3x3-16 relu, fc10' --explain"
            raise UsageError("cannot tell what to count", why=reason, advice=advice)


def _sides(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"(\d+(x\d+)*)?", text):
        why = "a size is whole numbers of pixels"
        raise UsageError(f"cannot count an image of {text}", why=why, advice="--size 224, or --size 3x224x160")
    return tuple(int(side) for side in text.split("x") if side)
