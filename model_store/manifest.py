"""What a model folder says of itself without running any of its code."""

import re
import shlex
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from model_store.errors import ModelFolderError

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
KEYS = ("name", "version", "requirements", "golden", "shards")
#: More than the queue has shards would change nothing.
MOST_SHARDS = 256
NAME_RULE = (
    "lowercase letters, digits, '.', '_' and '-', at most 63, beginning with a letter or digit"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """An input and the output that the model has to give for it."""

    input: Any
    output: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A model folder: its name, version, required packages, golden examples and shards."""

    name: str
    version: str
    path: Path
    requirements: tuple[str, ...] = ()
    golden: tuple[Golden, ...] = ()
    #: On how many shards of the queue the model lives.
    shards: int = 1

    @property
    def install_command(self) -> str:
        """The shell command that installs what the model needs into the running interpreter."""
        pip = f"{shlex.quote(sys.executable)} -m pip install"
        listed = self.path / "requirements.txt"
        in_file = _listed_requirements(listed)
        words = [f"-r {shlex.quote(str(listed))}"] if in_file else []
        words += [shlex.quote(each) for each in self.requirements if each not in in_file]
        return " ".join([pip, *words])


def read_manifest(path: str | Path) -> Manifest:
    """Read a model folder's name, version, requirements and golden examples."""
    folder = Path(path).expanduser().resolve()
    _require_model_file(folder)
    values = _read_toml(folder / "model.toml")
    where = f"{folder / 'model.toml'}"
    _refuse_unknown(values, KEYS, where)
    listed = _listed_requirements(folder / "requirements.txt")
    stated = _requirements(values.get("requirements", []), where)
    return Manifest(
        name=_name(values.get("name"), folder, where),
        version=_version(values.get("version", "1"), where),
        path=folder,
        requirements=tuple(dict.fromkeys((*listed, *stated))),
        golden=_golden(values.get("golden", []), where),
        shards=_shards(values.get("shards", 1), where),
    )


def _require_model_file(folder: Path) -> None:
    if folder.is_file():
        raise ModelFolderError(f"{folder} is a file; give the folder that holds model.py.")
    if not folder.is_dir():
        raise ModelFolderError(f"There is no folder {folder}.")
    # An exact listing, since a case-blind file system would accept Model.py here and not elsewhere.
    files = {each.name for each in folder.iterdir()}
    if "model.py" in files:
        return
    near = get_close_matches("model.py", files, n=1, cutoff=0.8)
    inner = sorted(each.parent.name for each in folder.glob("*/model.py"))
    if near:
        hint = f"rename {near[0]} to model.py"
    elif inner:
        hint = f"did you mean {folder / inner[0]}?"
    else:
        hint = "add one with Input, Output and class Model"
    raise ModelFolderError(f"{folder} has no model.py; {hint}{'' if hint[-1] == '?' else '.'}")


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelFolderError(f"{file} is not valid TOML: {error}.") from error
    except OSError as error:
        raise ModelFolderError(f"{file} cannot be read: {error.strerror}.") from error


def _refuse_unknown(values: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in values:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(known)}."
            raise ModelFolderError(f"{where} has the unknown key {key!r}; {hint}")


def _name(stated: Any, folder: Path, where: str) -> str:
    if stated is None:
        derived = folder.name.lower()
        if NAME.fullmatch(derived):
            return derived
        raise ModelFolderError(
            f"The folder name {folder.name!r} cannot be a model's name ({NAME_RULE}); "
            f'rename the folder or write name = "..." in {where}.'
        )
    if isinstance(stated, str) and NAME.fullmatch(stated):
        return stated
    raise ModelFolderError(f"{where}: name is {stated!r}; a model's name is {NAME_RULE}.")


def _version(stated: Any, where: str) -> str:
    if isinstance(stated, str) and NAME.fullmatch(stated):
        return stated
    if isinstance(stated, int | float) and not isinstance(stated, bool):
        raise ModelFolderError(f'{where}: write the version in quotes: version = "{stated}".')
    raise ModelFolderError(f"{where}: version is {stated!r}; a version is {NAME_RULE}.")


def _shards(stated: Any, where: str) -> int:
    if isinstance(stated, int) and not isinstance(stated, bool) and 1 <= stated <= MOST_SHARDS:
        return stated
    raise ModelFolderError(
        f"{where}: shards is {stated!r}; it has to be a whole number from 1 to {MOST_SHARDS}."
    )


def _requirements(stated: Any, where: str) -> tuple[str, ...]:
    if isinstance(stated, list) and all(isinstance(each, str) and each for each in stated):
        return tuple(stated)
    raise ModelFolderError(
        f'{where}: requirements has to be a list of package names, such as ["numpy>=2"].'
    )


def _listed_requirements(file: Path) -> tuple[str, ...]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFolderError(f"{file} cannot be read: {error}.") from error
    bare = (re.split(r"(?:^|\s)#", line)[0].strip() for line in lines)
    return tuple(line for line in bare if line and not line.startswith("-"))


def _golden(stated: Any, where: str) -> tuple[Golden, ...]:
    if not isinstance(stated, list) or not all(isinstance(each, dict) for each in stated):
        raise ModelFolderError(f"{where}: write each golden example as a table [[golden]].")
    for position, each in enumerate(stated):
        here = f"{where}, golden example {position}"
        _refuse_unknown(each, ("input", "output"), here)
        if each.keys() != {"input", "output"}:
            raise ModelFolderError(f"{here} needs an input and an output.")
    return tuple(Golden(input=each["input"], output=each["output"]) for each in stated)
