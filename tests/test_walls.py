"""The load-bearing walls: who may import whom, names that hide modules, what is imported when, what the base brings."""

import ast
import importlib
import importlib.metadata
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import lenext

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lenext"
STANDARD = set(sys.stdlib_module_names)

# Each room, and all that it may import beside the standard library and itself. The longest prefix speaks for a module.
GROUND = {
    "lenext", "lenext.config", "lenext.downloads", "lenext.errors", "lenext.run", "lenext.papers", "lenext.predictions",
}  # fmt: skip
MACHINE = {*GROUND, "lenext.rng", "lenext.device", "torch", "numpy"}
ALLOWED: dict[str, set[str]] = {
    "lenext": set(),
    "lenext.__main__": {"lenext.cli"},
    "lenext.config": {"lenext.errors", "tomli_w"},
    "lenext.downloads": {"lenext.errors"},
    "lenext.errors": set(),
    "lenext.extras": {"lenext.errors"},
    "lenext.run": {"lenext.errors", "numpy"},
    "lenext.papers": {"lenext.config", "lenext.errors"},
    "lenext.predictions": {"lenext.errors", "lenext.run", "numpy"},
    "lenext.recipes": {"lenext.config", "lenext.errors"},
    "lenext.rng": {"torch", "numpy"},
    "lenext.device": {"lenext.errors", "torch"},
    "lenext.data": {*MACHINE, "PIL"},
    "lenext.data.config": {"lenext.errors"},
    "lenext.models": MACHINE,
    "lenext.checkpoint": {*MACHINE, "lenext.models", "safetensors"},
    "lenext.weights": {*MACHINE, "lenext.models", "lenext.checkpoint", "lenext.downloads", "safetensors"},
    "lenext.costs": {*MACHINE, "lenext.models", "lenext.checkpoint"},
    "lenext.costs.onnx_graph": {"lenext.costs", "lenext.errors", "numpy", "onnx"},
    "lenext.explain": {*MACHINE, "lenext.models", "lenext.checkpoint"},
    "lenext.explain.boxes": set(),  # what a drawing is made from, which reporting reads
    "lenext.training": {*MACHINE, "lenext.data", "lenext.models", "lenext.checkpoint"},
    "lenext.training.config": set(),
    "lenext.exporting": {*MACHINE, "lenext.models", "lenext.checkpoint"},
    "lenext.evaluation": {*MACHINE, "lenext.data", "lenext.models", "lenext.checkpoint", "lenext.exporting"},
    "lenext.evaluation.choosing": {*MACHINE, "lenext.evaluation", "lenext.exporting", "lenext.extras"},
    "lenext.evaluation.runtimes": {*MACHINE, "lenext.evaluation", "lenext.exporting", "onnxruntime", "openvino"},
    "lenext.judge": {"lenext.predictions", "lenext.config", "lenext.errors", "numpy"},
    "lenext.reporting": {
        *GROUND, "lenext.judge", "lenext.explain.boxes", "numpy", "PIL", "jinja2", "markupsafe", "matplotlib", "rich",
    },
    "lenext.experiment": {
        *MACHINE, "lenext.recipes", "lenext.data", "lenext.models", "lenext.checkpoint", "lenext.costs",
        "lenext.training", "lenext.evaluation", "lenext.judge",
    },
    "lenext.cli": {
        *GROUND, "torch", "lenext.checkpoint", "lenext.extras", "lenext.device", "lenext.data", "lenext.models",
        "lenext.costs", "lenext.evaluation", "lenext.explain", "lenext.experiment", "lenext.judge", "lenext.reporting",
        "lenext.training", "lenext.weights", "cyclopts", "rich",
    },
}  # fmt: skip

# What `pip install .` brings beside torch and what torch itself needs: a line here is a decision.
BASE_DISTRIBUTIONS = 26

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
)  # fmt: skip


def test_every_import_is_on_the_list() -> None:
    faults = [
        f"{module} imports {target}"
        for module in MODULES
        for target in sorted(_imports(module))
        if not _is_allowed(module, target)
    ]
    assert faults == []


def test_a_planted_import_across_a_wall_is_seen() -> None:
    assert not _is_allowed("lenext.data.sources", "lenext.models.resnet")
    assert not _is_allowed("lenext.reporting.page", "torch")
    assert not _is_allowed("lenext.training.loop", "lenext.evaluation.scoring")
    assert not _is_allowed("lenext.models.catalog", "lenext.cli.output")
    assert _is_allowed("lenext.cli.verb_eval", "lenext.reporting.tables")


def test_no_public_function_is_named_like_a_module() -> None:
    names = {module.rpartition(".")[2] for module in MODULES} - {"lenext"}
    clashes = [f"{module}.{name}" for module in MODULES for name in _own_functions(module) if name in names]
    clashes += [f"lenext.{name}" for name in lenext.__all__ if name in names]
    assert clashes == []


def test_every_module_imports_and_every_public_name_is_there_after_it() -> None:
    for module in MODULES:
        if module != "lenext.__main__":
            importlib.import_module(module)
    for name in lenext.__all__:
        value = getattr(lenext, name)
        assert not isinstance(value, ModuleType), name
        assert callable(value), name
        assert value.__doc__, name


def test_every_module_is_reached_by_pkgutil() -> None:
    """A folder without __init__.py would be missing from a wheel."""
    found = {info.name for info in pkgutil.walk_packages(lenext.__path__, "lenext.")}
    assert found == set(MODULES) - {"lenext"}


@pytest.mark.parametrize("words", [["--help"], ["models"], ["models", "--json"], ["train", "--help"], ["--version"]])
def test_torch_is_not_imported_for(words: list[str]) -> None:
    program = (
        "import sys\n"
        "from lenext.cli import main\n"
        "try:\n"
        f"    main({words!r})\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0, end.code\n"
        "heavy = {'torch', 'matplotlib', 'numpy', 'PIL'} & set(sys.modules)\n"
        "sys.stderr.write(','.join(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout


def test_the_base_brings_no_more_distributions_than_decided() -> None:
    beside_torch = _closure("lenext") - _closure("torch") - {"lenext"}
    assert len(beside_torch) <= BASE_DISTRIBUTIONS, sorted(beside_torch)


def test_extras_are_those_of_pyproject() -> None:
    from lenext.extras import EXTRAS

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(EXTRAS) == set(project["optional-dependencies"]) - {"test"}


def test_files_and_functions_are_short() -> None:
    long_files = [module for module in MODULES if len(_path(module).read_text(encoding="utf-8").splitlines()) > 400]
    long_functions = [
        f"{module}.{node.name}"
        for module in MODULES
        for node in ast.walk(_tree(module))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 60
        if not module.startswith("lenext.cli.")  # an option there is a line of signature and two of help
    ]
    assert long_files == []
    assert long_functions == []


def test_nothing_is_a_pickle() -> None:
    loaders = re.compile(
        r"import pickle|pickle\.(load|dump)|(?<!safetensors\.)torch\.(load|save)\(|allow_pickle=True|joblib"
    )
    users = [module for module in MODULES if loaders.search(_path(module).read_text(encoding="utf-8"))]
    assert users == [
        "lenext.data.cifar",  # what CIFAR's publisher wrote, by an allow-list and after its digest matched
        "lenext.weights.sandbox",  # what others trained, tensors only, in a confined process
    ]


def _path(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _tree(module: str) -> ast.Module:
    return ast.parse(_path(module).read_text(encoding="utf-8"))


def _imports(module: str) -> set[str]:
    """Every module that the source names in an import anywhere, TYPE_CHECKING blocks of the front door left out."""
    found = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
    return found


def _is_allowed(module: str, target: str) -> bool:
    if module == "lenext":  # its lazy table of verbs names rooms, for type checkers only
        return True
    top = target.partition(".")[0]
    if top in STANDARD:
        return True
    room = max((name for name in ALLOWED if module == name or module.startswith(f"{name}.")), key=len)
    if target == room or (room != "lenext" and target.startswith(f"{room}.")):
        return True
    if top != "lenext":
        return top in ALLOWED[room]
    return any(target == name or (name != "lenext" and target.startswith(f"{name}.")) for name in ALLOWED[room])


def _own_functions(module: str) -> list[str]:
    loaded = importlib.import_module(module) if module != "lenext.__main__" else lenext
    return [
        name
        for name, value in vars(loaded).items()
        if inspect.isfunction(value) and value.__module__ == module and not name.startswith("_")
    ]


def _closure(name: str) -> set[str]:
    """Distributions that installing `name` without extras brings, itself included, by the installed metadata."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        one = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if one in seen:
            continue
        try:
            needed = importlib.metadata.requires(one) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # needed on another platform
        seen.add(one)
        waiting += [re.split(r"[ \[;(<>=!~]", line)[0] for line in needed if "extra ==" not in line]
    return seen
