"""docs/models.md tells of every member, and what it shows can be run."""

import re
from pathlib import Path

import pytest

from model_store.errors import ModelFolderError
from model_store.loader import load_folder
from model_store.manifest import KEYS, read_manifest
from model_store.shape import METHODS, VALUES

TEXT = (Path(__file__).parents[2] / "docs" / "models.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "counter"
    folder.mkdir()
    (folder / "model.py").write_text(blocks("python")[0])
    return folder


@pytest.mark.parametrize("member", [*METHODS, *VALUES])
def test_every_member_has_a_heading(member: str) -> None:
    assert f"\n### {member}\n" in TEXT
    assert f"[`{member}`](#{member})" in TEXT


def test_the_first_model_runs(folder: Path) -> None:
    loaded = load_folder(folder)
    batch = [loaded.Input.model_validate({"text": "how many words"})]
    assert loaded.members.predict(batch, None)[0].model_dump() == {"words": 3}  # type: ignore[arg-type]


def test_the_model_toml_is_read(folder: Path) -> None:
    (folder / "model.toml").write_text(blocks("toml")[0])
    assert load_folder(folder).manifest.version == "2"
    assert all(f"\n{key} = " in f"\n{blocks('toml')[0]}" for key in KEYS if key != "golden")


@pytest.mark.parametrize("code", blocks("python"))
def test_every_block_is_python(code: str) -> None:
    compile(code, "docs/models.md", "exec")


def test_the_refusals_are_said_so(folder: Path) -> None:
    shown = blocks("text")[-1].splitlines()
    assert len(shown) == 4
    whole = blocks("python")[0]
    model = whole.partition("\n")[2]
    cases = {
        shown[0]: {"model.py": f"\n\nfrom tokens import split\n{model}", "tokens.py": ""},
        shown[2]: {"model.py": whole + "\n    max_batch = 2.0\n"},
    }
    for sentence, files in cases.items():
        for file, text in files.items():
            (folder / file).write_text(text)
        with pytest.raises(ModelFolderError) as caught:
            load_folder(folder)
        assert caught.value.detail == sentence
    (folder / "model.toml").write_text('nmae = "x"')
    with pytest.raises(ModelFolderError) as caught:
        read_manifest(folder)
    assert caught.value.detail.endswith(shown[3])
