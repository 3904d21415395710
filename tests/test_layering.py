"""The shape of the house: imports go down, registries are whole, everything public is documented."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import dlax
from dlax import cli, registry
from dlax.algorithms import ALGORITHMS
from dlax.algorithms.asynchronous import ASYNCHRONOUS
from dlax.problems import PROBLEMS

ROOT = Path(dlax.__file__).parent

# Imports go from a later line to an earlier one, or within a package.
LAYERS = [
    {"types"},
    {"tree", "compress", "robust", "topology", "data", "models", "optimizers", "tables"},
    {"attacks"},
    {"mixing", "channel", "problems", "timing", "schedulers", "flatness", "sampling"},
    {"algorithms", "modest"},
    {"simulate", "results", "claims"},
    {"faults"},
    {"registry", "theory"},
    {"ablation"},
    {"rundir", "checkpoint", "config", "experiment"},
    {"plots", "report", "bench", "trackers"},
    {"papers"},
    {"cli"},
]
LAYER = {part: number for number, layer in enumerate(LAYERS) for part in layer}
# Within a layer, who may import whom.
BESIDE = {
    ("channel", "mixing"), ("compress", "tree"), ("models", "tree"), ("simulate", "results"),
    ("rundir", "checkpoint"), ("experiment", "rundir"), ("experiment", "config"), ("report", "plots"),
}  # fmt: skip

FILES = [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


def part_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_parts(path):
    """The parts of dlax that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports of dlax are written in full"
            whole = node.module == "dlax"
            names = [f"dlax.{alias.name}" for alias in node.names] if whole else [node.module or ""]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("dlax."))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    here = part_of(path)
    for there in imported_parts(path):
        allowed = there == here or LAYER[there] < LAYER[here] or (here, there) in BESIDE
        assert allowed, f"{here} (layer {LAYER[here]}) imports {there} (layer {LAYER[there]})"


def test_every_part_has_a_layer():
    assert {part_of(path) for path in FILES} <= set(LAYER)


def test_importing_the_package_and_its_command_line_waits_for_nothing_heavy():
    import subprocess
    import sys

    heavy = {"flax", "matplotlib", "networkx", "orbax", "pandas", "sklearn"}
    program = f"import sys, dlax, dlax.cli; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], timeout=120).returncode == 0


@pytest.mark.parametrize(
    ("folder", "entries"),
    [("algorithms", ALGORITHMS), ("algorithms/asynchronous", ASYNCHRONOUS), ("problems", PROBLEMS)],
)
def test_registries_are_the_factories_on_disk(folder, entries):
    """A public function that returns an algorithm or a Problem is registered under its own name."""
    returns = {"algorithms": "Algorithm", "problems": "Problem"}.get(folder, "Asynchronous")
    found = set()
    for path in (ROOT / folder).glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            public = isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
            if public and isinstance(node.returns, ast.Name) and node.returns.id == returns:
                found.add(node.name)
    # Two take arrays, and those no config can give; in a config, a run's channel stands beside its algorithm.
    assert found - {"average_of", "one_class_of", "through"} == set(entries)
    assert all(factory.__name__ == name for name, factory in entries.items())


def test_each_algorithm_is_a_file_of_its_name():
    for folder, entries in (("algorithms", ALGORITHMS), ("algorithms/asynchronous", ASYNCHRONOUS)):
        for name, factory in entries.items():
            assert inspect.getsourcefile(factory) == str(ROOT / folder / f"{name}.py")


ENTRIES = [(kind, name) for kind, entries in registry.REGISTRY.items() for name in entries]


@pytest.mark.parametrize(("kind", "name"), ENTRIES, ids=lambda word: word)
def test_every_entry_is_documented_with_all_its_options(kind, name):
    factory = registry.REGISTRY[kind][name]
    text = inspect.getdoc(factory) or ""
    first = text.partition("\n")[0]
    assert first.endswith((".", ":")), "the first line is a sentence, or announces a formula"
    if kind == "optimizer":
        return  # optax documents them
    documented = set(re.findall(r"^  (\w+):", text.partition("Args:")[2].partition("\n\n")[0], re.M))
    options = set(inspect.signature(factory).parameters)
    assert documented == options, "Args: names every option and nothing else"


def test_every_public_function_has_a_docstring():
    missing = []
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            named = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if named and not ast.get_docstring(node):
                missing.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert missing == []


def test_the_public_surface_is_there():
    assert (
        {"run", "sweep", "simulate", "make", "list_registry", "Result"} <= set(dlax.__all__) <= set(dir(dlax))
    )
    for name in set(dlax.__all__) - {"__version__"}:
        assert callable(getattr(dlax, name)), name
    with pytest.raises(AttributeError, match="module 'dlax' has no attribute 'simulator'"):
        dlax.simulator  # noqa: B018


def test_the_readme_has_the_inventory_as_it_is():
    readme = ROOT.parent / "README.md"
    if not readme.exists() or "| kind | entries |" not in readme.read_text():
        pytest.skip("README.md has no inventory table")
    assert cli.inventory() in readme.read_text(), "run `dlax list --markdown` and paste it"
