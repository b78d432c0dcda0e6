"""Run a folder's code as the private package headrace_models.<name>; sys.path is untouched."""

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from model_store.explain import explain
from model_store.manifest import Manifest

ROOT = "headrace_models"


def import_model(manifest: Manifest) -> ModuleType:
    """Import the folder's model.py anew, with relative imports of the files beside it."""
    # A dot would make the import system look for a package of the first half.
    package = f"{ROOT}.{manifest.name.replace('.', '_')}"
    _forget(package)
    importlib.invalidate_caches()
    _ensure_root()
    try:
        _open_package(package, manifest.path)
        return importlib.import_module(f"{package}.model")
    except (Exception, SystemExit) as error:
        _forget(package)
        raise explain(error, manifest, "") from error


def _forget(package: str) -> None:
    for name in [each for each in sys.modules if each == package or each.startswith(f"{package}.")]:
        del sys.modules[name]


def _ensure_root() -> None:
    if ROOT not in sys.modules:
        sys.modules[ROOT] = importlib.util.module_from_spec(
            ModuleSpec(ROOT, loader=None, is_package=True)
        )


def _open_package(package: str, folder: Path) -> None:
    own = folder / "__init__.py"
    if own.is_file():
        spec = importlib.util.spec_from_file_location(
            package, own, submodule_search_locations=[str(folder)]
        )
    else:
        spec = ModuleSpec(package, loader=None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
    assert spec is not None  # only an unknown file suffix gives None
    module = importlib.util.module_from_spec(spec)
    sys.modules[package] = module
    if spec.loader is not None:
        spec.loader.exec_module(module)
