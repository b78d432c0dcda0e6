"""From the path of a model folder to a model that can be loaded onto a device."""

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, PydanticUserError, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import PydanticSerializationError, to_jsonable_python

from model_store.errors import ModelFolderError
from model_store.example import example_of
from model_store.explain import explain
from model_store.json_schema import InputJsonSchema
from model_store.limits import Limits
from model_store.manifest import Manifest, read_manifest
from model_store.model import Members
from model_store.private_package import import_model
from model_store.shape import limits_of, members_of

__all__ = ["Limits", "LoadedModel", "load_folder", "read_manifest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A checked model folder: its code is imported, its weights are not loaded yet."""

    manifest: Manifest
    model_class: type
    #: Model(), made once; its `load` has not been called.
    instance: Any
    Input: type[BaseModel]
    Output: type[BaseModel]
    members: Members
    limits: Limits
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    description: str = ""
    #: A JSON value that is valid against Input; None when none was given and none could be derived.
    example: Any = None
    #: The inputs of the warm-up as JSON texts, each valid against Input.
    warmup: tuple[bytes, ...] = ()
    #: Sentences for the log about what works, but not as well as it could.
    warnings: tuple[str, ...] = ()

    def limits_now(self) -> Limits:
        """The limits as they stand; `load` may have set them by what the device can do."""
        return limits_of(self.instance, _class_place(self.manifest))

    def explain(self, error: BaseException, doing: str) -> ModelFolderError:
        """Explain what the folder's code raised while `doing` something, such as "load"."""
        return explain(error, self.manifest, doing)


def load_folder(path: str | Path) -> LoadedModel:
    """Import and check a model folder; its weights stay where they are until `load` is called."""
    manifest = read_manifest(path)
    module = import_model(manifest)
    model_input = _type_of(module, "Input", manifest)
    output = _type_of(module, "Output", manifest)
    instance = _construct(module, manifest)
    where = _class_place(manifest)
    members = members_of(instance, where)
    input_schema = _schema(model_input, manifest, mode="validation", generator=InputJsonSchema)
    output_schema = _schema(output, manifest, mode="serialization")
    example, warnings = _example(instance, model_input, input_schema, where)
    _check_golden(manifest, model_input, output)
    return LoadedModel(
        manifest=manifest,
        model_class=type(instance),
        instance=instance,
        Input=model_input,
        Output=output,
        members=members,
        limits=limits_of(instance, where),
        input_schema=input_schema,
        output_schema=output_schema,
        description=inspect.cleandoc(type(instance).__doc__ or module.__doc__ or ""),
        example=example,
        warmup=_warmup(instance, model_input, example, where),
        warnings=warnings,
    )


def _file_place(manifest: Manifest) -> str:
    return f"{manifest.path.name}/model.py"


def _class_place(manifest: Manifest) -> str:
    return f"{_file_place(manifest)}: class Model"


def _type_of(module: ModuleType, name: str, manifest: Manifest) -> type[BaseModel]:
    found = getattr(module, name, None)
    if found is None:
        raise ModelFolderError(
            f"{_file_place(manifest)} has no {name}; "
            f"add class {name}(BaseModel) with BaseModel from pydantic."
        )
    if isinstance(found, type) and issubclass(found, BaseModel):
        return found
    raise ModelFolderError(
        f"{_file_place(manifest)}: {name} is not a Pydantic model; "
        f"write class {name}(BaseModel) with BaseModel from pydantic."
    )


def _construct(module: ModuleType, manifest: Manifest) -> Any:
    model_class = getattr(module, "Model", None)
    place = _file_place(manifest)
    if not isinstance(model_class, type):
        raise ModelFolderError(
            f"{place} has no class Model; "
            "add one with load(self, ctx) and predict(self, batch, ctx)."
        )
    try:
        inspect.signature(model_class).bind()
    except TypeError:
        raise ModelFolderError(
            f"{place}: Model{inspect.signature(model_class)} needs arguments, but it is made with "
            "none; take what it needs from ctx.settings and ctx.weights in load(self, ctx)."
        ) from None
    except ValueError:
        pass  # a constructor from C has no signature; the call below will tell
    try:
        return model_class()
    except (Exception, SystemExit) as error:
        raise explain(error, manifest, "Model()") from error


def _schema(
    model: type[BaseModel],
    manifest: Manifest,
    *,
    mode: JsonSchemaMode,
    generator: type[GenerateJsonSchema] = GenerateJsonSchema,
) -> dict[str, Any]:
    try:
        schema = model.model_json_schema(mode=mode, schema_generator=generator)
        json.dumps(schema, allow_nan=False)
    except (PydanticInvalidForJsonSchema, PydanticUserError, ValueError, TypeError) as error:
        said = str(error).partition("\n")[0]
        raise ModelFolderError(
            f"{_file_place(manifest)}: {model.__name__} has what JSON cannot carry: {said}."
        ) from error
    return schema


def _example(
    instance: Any, model: type[BaseModel], schema: dict[str, Any], where: str
) -> tuple[Any, tuple[str, ...]]:
    stated = getattr(instance, "example", None)
    if stated is not None:
        return json.loads(_input_json(stated, model, f"{where}: example")), ()
    derived = example_of(schema)
    if derived is not None:
        try:
            _input_json(derived, model, where)
        except ModelFolderError:
            derived = None
    if derived is None:
        return None, (
            f"{where}: no valid example could be derived from Input; give one as "
            "example = {...}, it is shown in the docs and warms the model up.",
        )
    return derived, ()


def _warmup(instance: Any, model: type[BaseModel], example: Any, where: str) -> tuple[bytes, ...]:
    stated = getattr(instance, "warmup", None)
    if stated is None:
        stated = [] if example is None else [example]
    elif not isinstance(stated, list | tuple):
        raise ModelFolderError(f"{where}: warmup has to be a list of inputs.")
    return tuple(
        _input_json(each, model, f"{where}: warmup[{index}]") for index, each in enumerate(stated)
    )


def _check_golden(
    manifest: Manifest, model_input: type[BaseModel], output: type[BaseModel]
) -> None:
    for index, golden in enumerate(manifest.golden):
        where = f"{manifest.path.name}/model.toml: golden[{index}]"
        _input_json(golden.input, model_input, f"{where}.input")
        _input_json(golden.output, output, f"{where}.output", strict=False)


def _input_json(value: Any, model: type[BaseModel], where: str, strict: bool = True) -> bytes:
    """The value as the JSON text that a client would send, checked as the engine checks it."""
    try:
        plain = to_jsonable_python(value, by_alias=True)
        text = json.dumps(plain, ensure_ascii=False, allow_nan=False).encode()
    except (PydanticSerializationError, ValueError, TypeError) as error:
        raise ModelFolderError(f"{where} cannot be written as JSON: {error}.") from error
    try:
        model.model_validate_json(text, strict=strict)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        at = ".".join(str(each) for each in first["loc"])
        field = f" at {at}" if at else ""
        raise ModelFolderError(
            f"{where} is not valid against {model.__name__}{field}: {first['msg']}."
        ) from error
    return text
