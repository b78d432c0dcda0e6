"""Checks that a class Model has the members of the contract, each of the right shape."""

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

from model_store.errors import ModelFolderError
from model_store.limits import Limits
from model_store.model import Members

#: Methods, and the arguments that each is called with after self.
METHODS: dict[str, tuple[str, ...]] = {
    "load": ("ctx",),
    "prepare": ("input",),
    "predict": ("batch", "ctx"),
    "finish": ("raw",),
    "cost": ("prepared",),
}
REQUIRED = ("load", "predict")
VALUES = (*Limits.__dataclass_fields__, "warmup", "example")


def members_of(model: Any, where: str) -> Members:
    """The bound methods of an author's model, each checked."""
    _refuse_misspelt(type(model), where)
    found = {name: _method(model, name, where) for name in METHODS}
    for name in REQUIRED:
        if found[name] is None:
            raise ModelFolderError(_missing_sentence(type(model), name, where))
    return Members(**found, streams=inspect.isgeneratorfunction(found["predict"]))  # type: ignore[arg-type]


def limits_of(model: Any, where: str) -> Limits:
    """The model's limits, each checked; read again after load, which may have changed them."""
    values = {
        name: getattr(model, name) for name in Limits.__dataclass_fields__ if hasattr(model, name)
    }
    for name, value in values.items():
        wrong = _wrong_limit(name, value)
        if wrong:
            raise ModelFolderError(f"{where}: {name} is {value!r}; it has to be {wrong}.")
    if values.get("buckets") is not None:
        values["buckets"] = tuple(values["buckets"])
    return Limits(**values)


def _wrong_limit(name: str, value: Any) -> str | None:
    """What the limit has to be, where it is not."""
    if name == "max_batch":
        whole = isinstance(value, int) and not isinstance(value, bool)
        return None if whole and value >= 1 else "a whole number, 1 or more"
    if name == "buckets":
        return None if value is None or _ascending(value) else "a list of rising numbers above 0"
    if name == "max_cost":
        return None if value is None or _above(value, 0) else "None or a number above 0"
    if name == "timeout_s":
        return None if _above(value, 0) else "a number of seconds above 0"
    unit = "milliseconds" if name.endswith("_ms") else "seconds"
    return None if value == 0 or _above(value, 0) else f"a number of {unit}, 0 or more"


def _above(value: Any, floor: float) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and floor < value < float("inf")


def _ascending(value: Any) -> bool:
    if not isinstance(value, list | tuple) or not value or not all(_above(v, 0) for v in value):
        return False
    return all(low < high for low, high in pairwise(value))


def _method(model: Any, name: str, where: str) -> Callable[..., Any] | None:
    method: Callable[..., Any] | None = getattr(model, name, None)
    if method is None:
        return None
    signature = f"def {name}(self, {', '.join(METHODS[name])})"
    if not callable(method):
        raise ModelFolderError(
            f"{where}: {name} is {method!r}; it has to be a method: {signature}."
        )
    if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
        raise ModelFolderError(
            f"{where}: {name} is async, but it is called in a thread; write {signature}."
        )
    try:
        inspect.signature(method).bind(*METHODS[name])
    except TypeError:
        written = inspect.signature(method)
        raise ModelFolderError(
            f"{where}: {name}{written} cannot be called with {', '.join(METHODS[name])}; "
            f"write {signature}."
        ) from None
    except ValueError:  # a callable from C has no signature to check
        return method
    return method


def _missing_sentence(model_class: type, name: str, where: str) -> str:
    own = [each for each in vars(model_class) if not each.startswith("_")]
    near = get_close_matches(name, [each for each in own if each not in METHODS], n=1, cutoff=0.7)
    signature = f"def {name}(self, {', '.join(METHODS[name])})"
    hint = f"did you mean to name {near[0]} so?" if near else f"add {signature}."
    return f"{where} has no {name}; {hint}"


def _refuse_misspelt(model_class: type, where: str) -> None:
    """A limit under a wrong name would silently keep its default."""
    for name, value in vars(model_class).items():
        if name.startswith("_") or name in VALUES or name in METHODS or callable(value):
            continue
        near = get_close_matches(name, VALUES, n=1, cutoff=0.8)
        if near:
            raise ModelFolderError(
                f"{where} has {name}, which Headrace does not know; did you mean {near[0]}?"
            )
