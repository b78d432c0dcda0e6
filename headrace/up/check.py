"""Checking a model folder in a process of its own: its imports stay out of `headrace up`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from headrace.errors import StartRefused
from headrace.up.commands import ServedModel
from model_store.errors import ModelFolderError
from model_store.loader import load_folder, read_manifest

_REFUSED = 2


def served_models(folders: Sequence[Path]) -> list[ServedModel]:
    """Name the folders' models; StartRefused for a folder that is none, or a name used twice."""
    models: dict[str, ServedModel] = {}
    for folder in folders:
        try:
            manifest = read_manifest(folder)
        except ModelFolderError as error:
            raise StartRefused(error.detail) from error
        model = ServedModel(manifest.name, manifest.path)
        if model.name in models:
            raise StartRefused(
                f"{models[model.name].folder} and {model.folder} are both named {model.name}; "
                "give one of them another name in its model.toml"
            )
        models[model.name] = model
    return list(models.values())


async def check_models(models: Sequence[ServedModel]) -> None:
    """Import each folder as its worker will; StartRefused with what is wrong with the first."""
    for model in models:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "headrace.up.check", str(model.folder)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            _, said = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            raise
        if process.returncode == _REFUSED:
            raise StartRefused(said.decode(errors="replace").strip().splitlines()[-1])


def main(folder: str) -> int:
    """Say on standard error what is wrong with the folder."""
    try:
        load_folder(folder)
    except ModelFolderError as error:
        print(error.detail.replace("\n", " "), file=sys.stderr)
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
