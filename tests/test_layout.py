"""The shape of the repository: what may import what, what lies where, and how long a file may get."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fedshap"

# A module imports only from modules above it.
ORDER = [
    "_interruptions",
    "_types",
    "_coalitions",
    "_files",
    "_validation",
    "_records",
    "_scalar",
    "_intervals",
    "_differences",
    "_storage",
    "cooperative.weights",
    "cooperative.sources",
    "cooperative.store",
    "cooperative.evaluation",
    "cooperative.design",
    "cooperative.surrogate",
    "cooperative.regression",
    "cooperative.permutations",
    "cooperative.results",
    "cooperative.sampling",
    "cooperative.plan",
    "cooperative.options",
    "cooperative.values",
    "cooperative",
    "payoffs.exponential_sums",
    "payoffs.mixtures",
    "payoffs.differences",
    "payoffs.vetting",
    "payoffs.base",
    "payoffs.agreement",
    "payoffs.curves",
    "payoffs.power_law",
    "payoffs.pac_bound",
    "payoffs.discovery",
    "payoffs.coverage",
    "payoffs.custom",
    "payoffs.regrouped",
    "payoffs.measurements",
    "payoffs.least_squares",
    "payoffs.fitting",
    "payoffs.curve_forms",
    "payoffs.curve_scores",
    "payoffs.curve_search",
    "payoffs.curve_fitting",
    "payoffs",
    "costs.supply",
    "costs.base",
    "costs.standard",
    "costs.custom",
    "costs",
    "game",
    "shapley.mixtures",
    "shapley.compression",
    "shapley.expansion",
    "shapley.quadrature",
    "shapley.enumeration",
    "shapley.methods",
    "shapley.participants",
    "shapley.estimates",
    "shapley.permutations",
    "shapley.sampled_potential",
    "shapley.aumann_shapley",
    "shapley.values",
    "shapley.deviations",
    "shapley",
    "mechanisms.markets",
    "mechanisms.potential",
    "mechanisms.welfare",
    "mechanisms.base",
    "mechanisms.no_payment",
    "mechanisms.cost_sharing",
    "mechanisms.shaping",
    "mechanisms.shapley_payment",
    "mechanisms.damped_shapley",
    "mechanisms.participants_shapley",
    "mechanisms.aumann_shapley_payment",
    "mechanisms",
    "equilibrium.options",
    "equilibrium.steps",
    "equilibrium.records",
    "equilibrium.ascent",
    "equilibrium.few_points",
    "equilibrium.quasi_newton",
    "equilibrium.clearing",
    "equilibrium.best_responses",
    "equilibrium.stakes",
    "equilibrium.whole_units",
    "equilibrium.certificate",
    "equilibrium.reach",
    "equilibrium.sampled_ascent",
    "equilibrium.sampled_certificate",
    "equilibrium.sampled",
    "equilibrium.find",
    "equilibrium.ranges",
    "equilibrium.dynamics",
    "equilibrium.optimum",
    "equilibrium",
    "interim",
    "bayesian",
    "metrics",
    "worst_case",
    "splitting",
    "federations",
    "plotting",
    "paper.published",
    "paper.settings",
    "federated.datasets",
    "federated.archives",
    "federated.lumpy",
    "federated.sources",
    "federated.partitions",
    "federated.networks",
    "federated.models",
    "federated.config",
    "federated.backends",
    "federated.checkpoints",
    "federated.training",
    "federated.grid",
    "federated.store",
    "federated.exchange",
    "federated.members",
    "federated.choices",
    "federated.clients",
    "federated.coalition_models",
    "federated.estimators",
    "federated.deviations",
    "federated.audit",
    "federated.ledger",
    "federated.states",
    "federated.rules",
    "federated.rounds",
    "federated.protocol",
    "federated.options",
    "federated.reports",
    "federated.tasks",
    "federated.flower_messages",
    "federated.flower",
    "federated.flower_folder",
    "federated.flower_guard",
    "federated.flower_processes",
    "federated.flower_command",
    "federated.command",
    "federated._public",
    "federated",
    "federated.study.settings",
    "federated.study.summaries",
    "federated.study.units",
    "federated.study.samplers",
    "federated.study.peers",
    "federated.study.parties",
    "federated.study.lies",
    "federated.study.settling",
    "federated.study.noise",
    "federated.study.contributions",
    "federated.study.cheating",
    "federated.study.expense",
    "federated.study.command",
    "federated.study",
    "paper.experiment",
    "paper.command",
    "paper",
    "cli",
    "__main__",
]
# Where a heavy dependency may be imported; the core needs numpy and scipy alone.
HEAVY = {
    "cryptography": ("federated.flower_command",),
    "flwr": ("federated.flower", "federated.flower_messages"),
    "matplotlib": ("plotting",),
    "pandas": ("plotting", "equilibrium.records"),
    "sklearn": ("federated",),
    "safetensors": ("federated",),
    "sympy": (),
    "torch": ("federated",),
    "torchvision": ("federated",),
    "tqdm": ("federated",),
}
MAX_LINES = 330


def test_the_order_names_what_is_there():
    assert set(ORDER) == set(MODULES) - {""}


def modules() -> dict[str, Path]:
    """Dotted names within the package, such as ``payoffs.base``, and their files."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(source: str, module: str, is_package: bool) -> Iterator[str]:
    """Absolute names of the modules that a module imports, wherever in it the import stands."""
    parts = ["fedshap", *module.split(".")] if module else ["fedshap"]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level + is_package]
            yield from (".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names)


def rank(name: str) -> int | None:
    """Place of a dotted name in the order; a submodule has the place of the package that is listed."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in ORDER:
            return ORDER.index(".".join(parts[:length]))
    return None


def upward(source: str, module: str, is_package: bool = False) -> list[str]:
    """Imports of our own modules that do not lie above the importing one."""
    own = rank(module)
    if own is None or module not in ORDER:
        raise AssertionError(f"{module} has no place in the order of imports")
    targets = [
        name.removeprefix("fedshap.") for name in imports(source, module, is_package) if name.startswith("fedshap.")
    ]
    places = {target: rank(target) for target in targets}
    return [
        target
        for target, place in places.items()
        if place is None or place > own or (place == own and not target.startswith(f"{ORDER[own]}."))
    ]


@pytest.mark.parametrize("module", [name for name in MODULES if name])
def test_a_module_imports_only_from_above(module):
    path = MODULES[module]
    assert upward(path.read_text(encoding="utf8"), module, path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from fedshap.shapley import shapley_values", "game"),
        ("from fedshap.payoffs import PowerLaw", "payoffs.base"),
        ("import fedshap.equilibrium", "mechanisms.base"),
        ("def f():\n    from fedshap.federated import training", "federated.models"),
        ("from .grid import train_grid", "federated.training"),
        ("from fedshap import Game", "shapley.values"),
    ],
)
def test_an_import_from_below_is_seen(source, module):
    assert upward(source, module) != []


@pytest.mark.parametrize("module", MODULES)
def test_heavy_dependencies_stay_where_they_belong(module):
    path = MODULES[module]
    used = {name.split(".")[0] for name in imports(path.read_text(encoding="utf8"), module, path.name == "__init__.py")}
    allowed = {name for name, places in HEAVY.items() if any(f"{module}.".startswith(f"{place}.") for place in places)}
    assert (used & set(HEAVY)) - allowed == set()


def test_importing_the_package_stays_light():
    command = f"import sys, fedshap; print(*(set({sorted(HEAVY)}) | {{'numpy'}}) & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.split() == ["numpy"]


def test_the_core_depends_on_numpy_and_scipy_alone():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    assert sorted(re.split(r"[<>=~! ]", each)[0] for each in project["dependencies"]) == ["numpy", "scipy"]


@pytest.mark.parametrize("module", MODULES)
def test_a_file_stays_short(module):
    assert len(MODULES[module].read_text(encoding="utf8").splitlines()) <= MAX_LINES


def test_no_other_folder_at_the_top():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("there is no git here, or this is no checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    folders = {line.split("/")[0] for line in listed.stdout.splitlines() if "/" in line}
    assert folders == {".ci", ".github", "book", "fedshap", "tests"}


def test_one_version_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]["version"]
    cited = re.search(r"^version: *(\S+)", (ROOT / "CITATION.cff").read_text(encoding="utf8"), re.MULTILINE)
    assert cited is not None
    assert cited[1] == version
    assert version in (ROOT / "CHANGELOG.md").read_text(encoding="utf8")
