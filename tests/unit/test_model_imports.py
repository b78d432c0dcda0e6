"""A folder's code is a private package; a wrong import is answered with what to write."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from model_store.errors import ModelFolderError
from model_store.loader import load_folder

REST = """
from pydantic import BaseModel

class Input(BaseModel):
    text: str

class Output(BaseModel):
    text: str

class Model:
    def load(self, ctx): pass
    def predict(self, batch, ctx): return batch
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(files: dict[str, str], name: str = "parts") -> Path:
        folder = tmp_path / name
        for file, content in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(content)
        return folder

    return write


def refusal(folder: Path) -> str:
    with pytest.raises(ModelFolderError) as caught:
        load_folder(folder)
    assert "\n" not in caught.value.detail
    return caught.value.detail


def test_the_code_is_a_private_package_and_sys_path_is_untouched(write: Write) -> None:
    path, names = list(sys.path), set(sys.modules)
    folder = write(
        {
            "model.py": "from .words import SIZE\nfrom .deep import leaf\n" + REST,
            "words.py": "SIZE = 3",
            "deep/leaf.py": "from ..words import SIZE",
        }
    )
    loaded = load_folder(folder)
    assert loaded.model_class.__module__ == "headrace_models.parts.model"
    assert sys.path == path
    new = {each for each in set(sys.modules) - names if "parts" in each or "words" in each}
    assert new == {
        f"headrace_models.parts{part}" for part in ("", ".model", ".words", ".deep", ".deep.leaf")
    }


def test_two_models_may_have_files_of_one_name(write: Write) -> None:
    sizes = []
    for name, size in (("one", 1), ("two", 2)):
        text = "from .words import SIZE\n" + REST + "    size = SIZE\n"
        sizes.append(load_folder(write({"model.py": text, "words.py": f"SIZE = {size}"}, name)))
    assert [each.instance.size for each in sizes] == [1, 2]


@pytest.mark.parametrize("name", ["a-b", "1st", "v1.5_x"])
def test_every_name_of_the_contract_can_be_imported(write: Write, name: str) -> None:
    files = {"model.py": "from .words import SIZE\n" + REST, "words.py": "SIZE = 3"}
    assert load_folder(write(files, name)).manifest.name == name


def test_the_folders_own_init_runs_first(write: Write) -> None:
    files = {"__init__.py": "SIZE = 5", "model.py": "from . import SIZE\n" + REST}
    assert load_folder(write(files)).manifest.name == "parts"


def test_types_may_be_written_as_text(write: Write) -> None:
    loaded = load_folder(write({"model.py": "from __future__ import annotations\n" + REST}))
    assert loaded.Input(text="x").model_dump() == {"text": "x"}


ADVICE = {
    "from helpers import size": "from .helpers import size",
    "from helpers import size as s, other": "from .helpers import size as s, other",
    "import helpers": "from . import helpers",
    "import helpers as h": "from . import helpers as h",
    "from lib.inner import size": "from .lib.inner import size",
    "import lib.inner": "from .lib import inner",
}


@pytest.mark.parametrize("written", ADVICE)
def test_a_file_that_lies_beside_is_answered_with_what_to_write(write: Write, written: str) -> None:
    files = {"model.py": written + "\n" + REST, "helpers.py": "", "lib/inner.py": ""}
    detail = refusal(write(files))
    assert detail.startswith(f'parts/model.py line 1: "{written}" finds no such package')
    assert detail.endswith(f'write "{ADVICE[written]}".')


def test_advice_from_a_folder_below_counts_its_dots(write: Write) -> None:
    files = {"model.py": "from .lib import inner\n", "lib/inner.py": "import words", "words.py": ""}
    detail = refusal(write(files))
    assert detail.startswith("parts/lib/inner.py line 1")
    assert detail.endswith('write "from .. import words".')


def test_a_file_that_an_installed_package_hides_is_answered_too(write: Write) -> None:
    detail = refusal(write({"model.py": "from json import size\n", "json.py": "size = 1"}))
    assert detail.endswith('write "from .json import size".')


def test_a_relative_import_that_fails_is_told_as_it_is(write: Write) -> None:
    detail = refusal(write({"model.py": "from .words import size\n", "words.py": ""}))
    assert "cannot import name 'size' from 'headrace_models.parts.words'" in detail


def test_a_missing_package_is_named_with_the_command(write: Write) -> None:
    files = {
        "model.py": "\nimport nowhere_lib.sub\n",
        "requirements.txt": "# what it needs\nnowhere-lib[gpu]>=2  # the lib\n\n-i https://x\npydantic\n",
    }
    folder = write(files)
    assert refusal(folder) == (
        "parts/model.py line 2: the package 'nowhere_lib' is not installed "
        "(in the model's requirements as nowhere-lib[gpu]>=2); install what the model needs: "
        f"{shlex.quote(sys.executable)} -m pip install -r {folder / 'requirements.txt'}"
    )


def test_requirements_of_model_toml_are_in_the_command(write: Write) -> None:
    files = {"model.py": "import nowhere_lib", "model.toml": 'requirements = ["nowhere-lib>=2"]'}
    assert refusal(write(files)).endswith("-m pip install 'nowhere-lib>=2'")


def test_a_package_that_no_requirement_names(write: Write) -> None:
    files = {"model.py": "import nowhere_lib", "requirements.txt": "pydantic\n"}
    detail = refusal(write(files))
    assert "no requirement names it; add it to" in detail
    assert detail.endswith("-m pip install nowhere_lib")


def test_what_load_raises_is_explained_the_same_way(write: Write) -> None:
    files = {"model.py": REST.replace("(self, ctx): pass", "(self, ctx): import nowhere_lib")}
    loaded = load_folder(write(files))
    with pytest.raises(ModuleNotFoundError) as caught:
        loaded.members.load(None)  # type: ignore[arg-type]
    assert (
        "model.py line 11: the package 'nowhere_lib'" in loaded.explain(caught.value, "load").detail
    )
    assert (
        loaded.explain(KeyError("x"), "load").detail == "parts/model.py: load raised KeyError: 'x'"
    )
