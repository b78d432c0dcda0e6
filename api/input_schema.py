"""The check of a submit against its model's card: every wrong field at once, as Pydantic says it.

`compile(card.input_schema)` gives the validator of one model; types and places of its errors are
those of strict validation by the author's own `Input`.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import msgspec
import orjson
from pydantic_core import (
    CoreSchema,
    SchemaError,
    SchemaValidator,
    ValidationError,
    core_schema,
    from_json,
)

from api import envelope, strict_json
from api.envelope import ParsedBatch, ParsedSubmit, RawBatch, RawOptions, RawSubmit
from api.schema_compile import Compiler, InvalidSchema
from api.schema_live import Live
from api.schema_residual import Line, Residual
from jobs.errors import InvalidInput
from jobs.states import Priority

__all__ = ["InvalidInput", "InvalidSchema", "SubmitValidator", "Validators", "compile"]

#: Errors listed in full; beyond, each list stops at its first so that an answer stays small.
MAX_ERRORS = 1000
#: An `input` that is longer as JSON is described instead of repeated.
MAX_ECHO = 1024

#: orjson rounds integers over 64 bits to floats; a document with one is read again by Pydantic's.
_LONG_NUMBER = b"0" * 19
_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"000000000")
_submit_decoder = msgspec.json.Decoder(RawSubmit)
_batch_decoder = msgspec.json.Decoder(RawBatch)


def compile(schema: Mapping[str, Any]) -> SubmitValidator:
    """Return the validator of one model; InvalidSchema says why there can be none."""
    try:
        jsonschema_rs.meta.validate(dict(schema))
        return SubmitValidator(schema)
    except jsonschema_rs.ValidationError as error:
        where = "/".join(map(str, error.instance_path)) or "its top"
        raise InvalidSchema(f"not a JSON Schema: at {where}, {error.message}") from error
    except (SchemaError, re.error, ValueError, TypeError) as error:
        raise InvalidSchema(f"no input can be checked against this schema: {error}") from error


class SubmitValidator:
    """Checks the submits and batches of one model."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._compiled = Compiler(schema)
        self._input = self._compiled.compile()
        self._residual = Residual(schema, self._compiled)
        self._built: dict[tuple[str, bool], SchemaValidator] = {}
        self._validate_submit = self._validator("input", fail_fast=False).validate_python

    def submit(self, body: bytes) -> ParsedSubmit:
        """Return the parts of a submit, or raise MalformedRequest or InvalidInput."""
        document = _read(body)
        try:
            self._validate_submit(document)
        except ValidationError as error:
            raise self._refused("input", document, error) from error
        raw = _submit_decoder.decode(body)
        metadata = bytes(raw.metadata)
        if self._residual or len(metadata) > envelope.MAX_METADATA:
            self._check_rest("input", document, len(metadata))
        return ParsedSubmit(bytes(raw.input), *_options(raw, metadata))

    def batch(self, body: bytes) -> ParsedBatch:
        """Return the parts of a batch; one wrong input refuses them all."""
        document = _read(body)
        try:
            self._validator("inputs", fail_fast=False).validate_python(document)
        except ValidationError as error:
            raise self._refused("inputs", document, error) from error
        raw = _batch_decoder.decode(body)
        metadata = bytes(raw.metadata)
        if self._residual or len(metadata) > envelope.MAX_METADATA:
            self._check_rest("inputs", document, len(metadata))
        return ParsedBatch([bytes(one) for one in raw.inputs], *_options(raw, metadata))

    def _validator(self, field: str, *, fail_fast: bool) -> SchemaValidator:
        if (field, fail_fast) not in self._built:
            live = Live(self._compiled.definitions, fail_fast=fail_fast)
            inner = live.schema(self._input)
            inputs = inner if field == "input" else envelope.list_of(inner)
            whole = envelope.around(field, inputs)
            self._built[field, fail_fast] = _built(whole, live.definitions)
        return self._built[field, fail_fast]

    def _check_rest(self, field: str, document: dict[str, Any], metadata: int) -> None:
        lines = self._residual_lines(field, document, [])
        if metadata > envelope.MAX_METADATA:
            message = f"Metadata should have at most {envelope.MAX_METADATA} bytes, not {metadata}"
            value = document["metadata"]
            lines.append({"type": "too_long", "loc": ("metadata",), "msg": message, "input": value})
        if lines:
            raise _invalid(lines, document)

    def _residual_lines(
        self, field: str, document: dict[str, Any], known: list[tuple[int | str, ...]]
    ) -> list[Line]:
        if not self._residual or field not in document:
            return []
        if field == "input":
            return self._residual.lines(document["input"], ("input",), known)
        inputs = document["inputs"] if isinstance(document["inputs"], list) else []
        return [
            line
            for index, one in enumerate(inputs[: envelope.MAX_INPUTS])
            for line in self._residual.lines(one, ("inputs", index), known)
        ]

    def _refused(
        self, field: str, document: dict[str, Any], error: ValidationError
    ) -> InvalidInput:
        if error.error_count() > MAX_ERRORS:
            try:
                self._validator(field, fail_fast=True).validate_python(document)
            except ValidationError as fewer:
                error = fewer
        lines: list[Line] = [
            dict(line) for line in error.errors(include_url=False, include_context=False)
        ]
        lines += self._residual_lines(field, document, [line["loc"] for line in lines])
        return _invalid(lines, document)


class Validators:
    """The compiled validators of the cards in use, made at their first submit."""

    def __init__(self, *, limit: int = 256) -> None:
        self._limit = limit
        self._kept: OrderedDict[tuple[str, str], tuple[Mapping[str, Any], SubmitValidator]]
        self._kept = OrderedDict()

    def get(self, model: str, version: str, schema: Mapping[str, Any]) -> SubmitValidator:
        """Return the validator of a card; a card that changed is compiled anew."""
        key = (model, version)
        kept = self._kept.get(key)
        if kept is not None and kept[0] is schema:
            self._kept.move_to_end(key)
            return kept[1]
        # The same card, read again, is from now on known by this object.
        made = kept[1] if kept is not None and kept[0] == schema else compile(schema)
        self._kept[key] = (schema, made)
        self._kept.move_to_end(key)
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return made


def _read(body: bytes) -> dict[str, Any]:
    document = strict_json.parse(body)
    if _LONG_NUMBER in body.translate(_DIGITS_ALIKE):
        document = from_json(body, allow_inf_nan=False)
    return document


def _built(schema: CoreSchema, definitions: list[CoreSchema]) -> SchemaValidator:
    if definitions:
        schema = core_schema.definitions_schema(schema, definitions)
    return SchemaValidator(schema)


def _options(
    raw: RawOptions, metadata: bytes
) -> tuple[Priority, float | None, float | None, bytes | None, bytes | None]:
    webhook = bytes(raw.webhook)
    return (
        raw.priority or Priority.NORMAL,
        raw.deadline_s,
        raw.timeout_s,
        None if webhook == b"null" else envelope.kept_webhook(webhook),
        None if metadata == b"null" else metadata,
    )


def _invalid(lines: list[Line], document: dict[str, Any]) -> InvalidInput:
    echo = _Echo(document)
    errors = [
        {
            "type": line["type"],
            "loc": ["body", *line["loc"]],
            "msg": line["msg"],
            "input": echo.of(line),
        }
        for line in lines
    ]
    first = errors[0]
    where = ".".join(map(str, first["loc"][1:])) or "the body"
    many = "1 field does not fit" if len(errors) == 1 else f"{len(errors)} fields do not fit"
    return InvalidInput(f"{many}; {where}: {first['msg']}.", errors=errors)


class _Echo:
    """What an error repeats of its input: JSON-safe, short, and without secrets."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._known: dict[int, Any] = {}

    def of(self, line: Line) -> Any:
        value, loc = line["input"], line["loc"]
        whole = value is self._document and "webhook" in value
        if whole or (loc[:1] == ("webhook",) and (loc[-1] == "secret" or isinstance(value, dict))):
            return _shape(value)
        if id(value) not in self._known:
            self._known[id(value)] = _short(value)
        return self._known[id(value)]


def _short(value: Any) -> Any:
    try:
        text = orjson.dumps(value)
    except orjson.JSONEncodeError:
        # An integer over 64 bits: no reader of JSON keeps it exactly, so it is told as text.
        return str(value)[:MAX_ECHO] if isinstance(value, int) else _shape(value)
    if len(text) <= MAX_ECHO:
        return value
    return f"{value[:100]}… ({len(value)} characters)" if isinstance(value, str) else _shape(value)


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return f"(an object with {len(value)} keys)"
    return f"(a list of {len(value)})" if isinstance(value, list) else "(not shown)"
