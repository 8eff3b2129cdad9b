"""The command line: one file a verb, each a thin shell over the package; heavy imports inside the verb."""

import gc
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from lenext import __version__
from lenext.cli.ranks import leave
from lenext.errors import LenextError, MachineError, UsageError

VERBS = {
    # verb: (where it is, what the overview says of it)
    "models": ("verb_models:list_networks", "list the networks, with what their papers say"),
    "cost": ("verb_cost:show_cost", "count a network's parameters and multiply-accumulates"),
    "explain": ("verb_explain:app", "draw a block of a network; show an image under the classic kernels"),
    "data": ("verb_data:app", "list the data sets, get one; check, show or pack your own"),
    "weights": ("verb_weights:app", "list published weights, get them, import a file of them"),
    "train": ("verb_train:train_network", "train a network on a data set, or go on with a run"),
    "sweep": ("verb_sweep:sweep_settings", "train with every combination of settings, and compare"),
    "eval": ("verb_eval:evaluate_run", "judge a run on its test split"),
    "predict": ("verb_predict:predict_files", "classify image files with a run"),
    "compare": ("verb_compare:compare_networks", "put runs beside each other, and beside the papers"),
    "report": ("verb_report:write_page", "write a run's report, one offline page"),
    "doctor": ("verb_doctor:diagnose", "tell what this machine has"),
    "demo": ("verb_demo:demonstrate", "train, judge and report two networks on Fashion-MNIST"),
}

OVERVIEW = """\
lenext {version}: a workbench for convolutional image classifiers, from LeNet-5 to ConvNeXt V2

usage: lenext VERB [options]      lenext VERB --help tells a verb's options

{verbs}

  --version     print the version
  --debug       show a traceback with an error

exit codes: 0 done, 1 a bug, 2 usage, 3 data, 4 weights, 5 resume or configuration conflict,
            6 environment, 7 diverged, 8 locked, 130 and 143 interrupted with a good checkpoint"""


def overview() -> str:
    """What `lenext --help` prints; made without the parser, which takes longer to import than to read."""
    verbs = "\n".join(f"  {verb:<12}  {summary}" for verb, (_, summary) in VERBS.items())
    return OVERVIEW.format(version=__version__, verbs=verbs)


def parse_and_run(words: list[str]) -> None:
    """Hand the words to their verb; a verb's module is imported when the verb is used."""
    from cyclopts import App, CycloptsError, Parameter

    app = App(
        name="lenext",
        version=__version__,
        help_format="plaintext",
        default_parameter=Parameter(negative=(), show_default=False),
    )
    for name, (place, _) in VERBS.items():
        app.command(f"lenext.cli.{place}", name=name)
    try:
        app(words, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        why = " ".join(str(error).split())
        advice = " ".join(["lenext", *app.parse_commands(words)[0], "--help"])
        raise UsageError("cannot run this command", why=why, advice=advice) from error


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command and exit with its code; an error is four short lines on stderr."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell: the next file to be opened must not take its place
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # what is half done is swept, as by Ctrl-C
    gc.set_threshold(100_000)  # importing torch makes that many objects, and none of them is garbage
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        if not words or words[0] in ("--help", "-h"):
            print(overview())  # noqa: T201
        else:
            parse_and_run(words)
    except LenextError as error:
        _fail(error, debug)
    except KeyboardInterrupt:
        print("lenext: interrupted", file=sys.stderr)  # noqa: T201
        leave(130)
    except BrokenPipeError:
        sys.stdout = None  # whoever read our output has gone; there is nobody to tell
        leave(141)
    except OSError as error:
        what = f"cannot go on: {error.strerror or error}"
        _fail(MachineError(what, why=str(error), kept="what was there", advice="see to that file or folder"), debug)
    except Exception as error:
        if debug:
            traceback.print_exc()
        name = type(error).__name__
        advice = "the same command with --debug, and report what it prints"
        print(f"lenext: a bug: {name}: {error} (exit 1)\n  try:  {advice}", file=sys.stderr)  # noqa: T201
        leave(1)
    sys.exit(0)


def _fail(error: LenextError, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    print(f"lenext: {error}", file=sys.stderr)  # noqa: T201
    leave(error.exit_code)
