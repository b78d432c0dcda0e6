"""model.toml and requirements.txt, read without running any of the folder's code."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model_store.errors import ModelFolderError
from model_store.manifest import Golden, read_manifest

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(toml: str = "", name: str = "Counter") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.py").write_text("raise RuntimeError('read_manifest runs no code')")
        if toml:
            (folder / "model.toml").write_text(toml)
        return folder

    return write


def refusal(path: Path) -> str:
    with pytest.raises(ModelFolderError) as caught:
        read_manifest(path)
    return caught.value.detail


def test_defaults_come_from_the_folder(write: Write) -> None:
    manifest = read_manifest(write())
    assert (manifest.name, manifest.version) == ("counter", "1")
    assert (manifest.requirements, manifest.golden, manifest.shards) == ((), (), 1)


def test_all_keys(write: Write) -> None:
    toml = """
    name = "words-2.x"
    version = "2026.1"
    requirements = ["numpy>=2"]
    shards = 4
    [[golden]]
    input = {text = "a"}
    output = {length = 1}
    """
    folder = write(toml)
    (folder / "requirements.txt").write_text("scipy\nnumpy>=2\n")
    manifest = read_manifest(folder)
    assert (manifest.name, manifest.version) == ("words-2.x", "2026.1")
    assert manifest.requirements == ("scipy", "numpy>=2")
    assert manifest.shards == 4
    assert manifest.golden == (Golden(input={"text": "a"}, output={"length": 1}),)


def test_a_path_may_be_relative(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write())
    assert read_manifest(".").name == "counter"


WRONG = {
    "name = 'Big Name'": "name is 'Big Name'; a model's name is lowercase letters",
    "name = 3": "name is 3",
    f"name = '{'a' * 64}'": "at most 63",
    "version = 2": 'write the version in quotes: version = "2".',
    "version = '1/2'": "version is '1/2'; a version is",
    "version = true": "version is True",
    "nmae = 'x'": "has the unknown key 'nmae'; did you mean 'name'?",
    "zzz = 'x'": "the keys are name, version, requirements, golden, shards.",
    "name = ": "is not valid TOML: ",
    "requirements = 'numpy'": "requirements has to be a list of package names",
    "shards = 0": "shards is 0; it has to be a whole number from 1 to 256.",
    "shards = 257": "shards is 257",
    "shards = true": "shards is True",
    "shards = 2.5": "shards is 2.5",
    "golden = 3": "write each golden example as a table [[golden]]",
    "[[golden]]\ninput = 3": "golden example 0 needs an input and an output",
    "[[golden]]\ninputs = 3": "the unknown key 'inputs'; did you mean 'input'?",
}


@pytest.mark.parametrize("toml", WRONG)
def test_wrong_toml(write: Write, toml: str) -> None:
    detail = refusal(write(toml))
    assert WRONG[toml] in detail
    assert "model.toml" in detail


def test_a_folder_name_that_cannot_be_a_models(write: Write) -> None:
    detail = refusal(write(name="My Model"))
    assert "The folder name 'My Model' cannot be a model's name" in detail
    assert 'write name = "..."' in detail


def test_wrong_paths(write: Write, tmp_path: Path) -> None:
    folder = write()
    assert refusal(tmp_path / "nothing") == f"There is no folder {tmp_path / 'nothing'}."
    assert "is a file; give the folder that holds model.py" in refusal(folder / "model.py")
    assert refusal(tmp_path).endswith(f"has no model.py; did you mean {folder}?")
    (folder / "model.py").rename(folder / "Model.py")
    assert refusal(folder).endswith("has no model.py; rename Model.py to model.py.")
    (folder / "Model.py").unlink()
    assert refusal(folder).endswith("add one with Input, Output and class Model.")
