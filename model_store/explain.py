"""Turn what an author's code raised into one sentence that says where it was and what to do."""

import ast
import linecache
import shlex
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from re import match
from traceback import extract_tb

from model_store.errors import ModelFolderError
from model_store.manifest import Manifest


def explain(error: BaseException, manifest: Manifest, doing: str) -> ModelFolderError:
    """Explain an exception raised by the folder's code while `doing` something ("" for import)."""
    if isinstance(error, ModelFolderError):
        return error
    if isinstance(error, SyntaxError) and error.filename:
        return ModelFolderError(_syntax_sentence(error, manifest.path))
    place, file, line = _place(error, manifest.path)
    if isinstance(error, ImportError):
        sibling = _sibling_advice(error, manifest.path, file, line)
        if sibling:
            return ModelFolderError(f"{place}: {sibling}")
    if isinstance(error, ModuleNotFoundError) and error.name:
        return ModelFolderError(f"{place}: {_missing_package(error.name, manifest)}")
    said = " ".join(str(error).split())
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return ModelFolderError(f"{place}: {doing + ' ' if doing else ''}raised {what}")


def _syntax_sentence(error: SyntaxError, folder: Path) -> str:
    file = Path(error.filename or "model.py")
    shown = file.relative_to(folder.parent) if file.is_relative_to(folder) else file
    text = (error.text or linecache.getline(str(file), error.lineno or 0)).strip()
    quoted = f", in: {text}" if text else ""
    return f"{shown} line {error.lineno}: {error.msg}{quoted}"


def _place(error: BaseException, folder: Path) -> tuple[str, Path, int]:
    """The innermost line of the author's own files that the error passed through."""
    for frame in reversed(extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_relative_to(folder):
            shown = file.relative_to(folder.parent)
            return f"{shown} line {frame.lineno}", file, frame.lineno or 0
    return f"{folder.name}/model.py", folder / "model.py", 0


def _sibling_advice(error: ImportError, folder: Path, file: Path, line: int) -> str | None:
    """What to write where a file of the folder was imported as if it were installed."""
    root = (error.name or "").partition(".")[0]
    if not root or not ((folder / f"{root}.py").is_file() or (folder / root).is_dir()):
        return None
    written = _import_at(file, line)
    if written is None:
        return None
    module = written.module if isinstance(written, ast.ImportFrom) else written.names[0].name
    if module is None or module.partition(".")[0] != root:
        return None
    dots = "." * (len(file.parent.relative_to(folder).parts) + 1)
    lies = f"{root}.py" if (folder / f"{root}.py").is_file() else f"the folder {root}"
    return (
        f'"{ast.unparse(written)}" finds no such package, but {lies} lies beside model.py; '
        f'write "{_relative(written, dots)}".'
    )


def _import_at(file: Path, line: int) -> ast.Import | ast.ImportFrom | None:
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            absolute = isinstance(node, ast.Import) or node.level == 0
            if absolute and node.lineno <= line <= (node.end_lineno or node.lineno):
                return node
    return None


def _relative(written: ast.Import | ast.ImportFrom, dots: str) -> str:
    if isinstance(written, ast.ImportFrom):
        names = ", ".join(ast.unparse(each) for each in written.names)
        return f"from {dots}{written.module} import {names}"
    first = written.names[0]
    package, _, leaf = first.name.rpartition(".")
    renamed = f" as {first.asname}" if first.asname else ""
    return f"from {dots}{package} import {leaf}{renamed}"


def _missing_package(module: str, manifest: Manifest) -> str:
    root = module.partition(".")[0]
    missing = [each for each in manifest.requirements if not _installed(each)]
    if missing:
        named = next((each for each in missing if _same_name(each, root)), None)
        listed = f" (in the model's requirements as {named})" if named else ""
        return (
            f"the package {root!r} is not installed{listed}; "
            f"install what the model needs: {manifest.install_command}"
        )
    pip = f"{shlex.quote(sys.executable)} -m pip install"
    file = manifest.path / "requirements.txt"
    return (
        f"the package {root!r} is not installed and no requirement names it; "
        f"add it to {file} and run: {pip} {root}"
    )


def _installed(requirement: str) -> bool:
    named = match(r"[A-Za-z0-9._-]+", requirement)
    if named is None:
        return False
    try:
        distribution(named[0])
    except PackageNotFoundError:
        return False
    return True


def _same_name(requirement: str, module: str) -> bool:
    plain = requirement.lower().replace("-", "_")
    return plain.startswith(module.lower())
