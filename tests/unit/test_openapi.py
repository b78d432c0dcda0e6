"""The OpenAPI document: valid, and with every model's own types."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel, Field
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from api import openapi
from api.app import create_app
from api.schemas import job_bytes
from api.settings import ApiSettings
from api.webhook_schemas import delivery_object, undelivered_object
from jobs.errors import problem
from jobs.job import Batch, Job
from jobs.states import Priority, Status
from jobs.view import event_body
from jobs.webhook import EVENTS, DeliveryRecord, DeliveryStatus, Try, Untold
from model_store.json_schema import InputJsonSchema


class Cat(BaseModel):
    kind: Literal["cat"]
    price: Decimal


class Dog(BaseModel):
    kind: Literal["dog"]
    others: list[Dog] = []


class Input(BaseModel):
    text: str = Field(examples=["$ref"])
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None


class Output(BaseModel):
    score: float


DONE = Job(
    id="job_01i01k82a16m7e2q8kp9jnld5hk6h",
    model="embed",
    version="1",
    tenant="default",
    status=Status.SUCCEEDED,
    priority=Priority.LOW,
    output=b'{"score": 1}',
    created_at=1_795_373_963_977,
    timeout_s=300.0,
)
BATCH = Batch(
    id="bat_01i01k82a16m7e2q8kp9jnld5hk6h",
    model="embed",
    tenant="default",
    total=2,
    created_at=1_795_373_963_977,
)
NOTED: dict[str, Any] = {
    "entry": "1-1",
    "at": 1_795_373_963_977,
    "seq": 1,
    "tenant": "default",
    "owner": DONE.id,
    "webhook": None,
}


@dataclass(frozen=True)
class Published:
    model: str
    card: dict[str, Any]


def published(model: str, **card: Any) -> Published:
    input_schema = Input.model_json_schema(schema_generator=InputJsonSchema)
    output_schema = Output.model_json_schema(mode="serialization")
    return Published(
        model, {"input_schema": input_schema, "output_schema": output_schema, "limits": {}, **card}
    )


def build(*cards: Published) -> dict[str, Any]:
    document: dict[str, Any] = openapi.build(create_app(ApiSettings()), cards)
    return json.loads(json.dumps(document))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return build(published("embed", example={"text": "hi"}, description="Embeds."))


def validator_of(document: dict[str, Any], component: str) -> Draft202012Validator:
    resource = Resource(contents=document, specification=DRAFT202012)
    registry: Any = Registry().with_resource("urn:api", resource)
    return Draft202012Validator(
        {"$ref": f"urn:api#/components/schemas/{component}"}, registry=registry
    )


def test_it_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()
    OpenAPIV31SpecValidator(build()).validate()


def test_each_model_has_paths_of_its_own(document: dict[str, Any]) -> None:
    submit = document["paths"]["/v1/models/embed/jobs"]["post"]
    content = submit["requestBody"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/embed.Submit"}
    assert content["example"] == {"input": {"text": "hi"}}
    for status in ("200", "202"):
        answer = submit["responses"][status]["content"]["application/json"]["schema"]
        assert answer == {"$ref": "#/components/schemas/embed.Job"}
    assert submit["description"] == "Embeds."
    assert not [one for one in submit["parameters"] if one.get("in") == "path"]
    batch = document["paths"]["/v1/models/embed/jobs/batch"]["post"]
    content = batch["requestBody"]["content"]["application/json"]
    assert content["example"] == {"inputs": [{"text": "hi"}]}


def test_the_bodies_say_what_is_taken(document: dict[str, Any]) -> None:
    submit = validator_of(document, "embed.Submit")
    good = {"text": "a", "pet": {"kind": "dog", "others": [{"kind": "dog"}]}}
    assert submit.is_valid({"input": good, "priority": "low", "metadata": {"a": 1}})
    for wrong in (
        {"input": {"text": 1}},
        {"input": {"text": "a", "pet": {"kind": "dog", "others": [{"kind": "cow"}]}}},
        {"input": good, "priority": "urgent"},
        {"input": good, "more": 1},
        {},
    ):
        assert not submit.is_valid(wrong)
    hook = {"url": "https://example.com/x", "events": ["job.failed"], "secret": "x" * 16}
    assert submit.is_valid({"input": good, "webhook": hook})
    assert not submit.is_valid({"input": good, "webhook": {**hook, "events": ["job.born"]}})
    assert not submit.is_valid({"input": good, "webhook": {}})
    batch = validator_of(document, "embed.BatchSubmit")
    assert batch.is_valid({"inputs": [good]})
    assert not batch.is_valid({"inputs": []})
    assert not batch.is_valid({"inputs": [good, {}]})


def test_the_job_is_typed(document: dict[str, Any]) -> None:
    properties = document["components"]["schemas"]["embed.Job"]["allOf"][1]["properties"]
    assert {"$ref": "#/components/schemas/embed.Output"} in properties["output"]["anyOf"]


def test_jobs_are_as_described(document: dict[str, Any]) -> None:
    job = Job(
        id="job_01i01k82a16m7e2q8kp9jnld5hk6h",
        model="embed",
        version="1",
        tenant="default",
        status=Status.FAILED,
        priority=Priority.LOW,
        input=b'{"text": "a"}',
        error=json.dumps(problem("model_error", "It broke.")).encode(),
        created_at=1_795_373_963_977,
        timeout_s=300.0,
    )
    for component in ("Job", "embed.Job"):
        check = validator_of(document, component)
        assert [
            error.message for error in check.iter_errors(json.loads(job_bytes(job, None)))
        ] == []


def test_events_are_described(document: dict[str, Any]) -> None:
    assert set(document["webhooks"]) == set(EVENTS)
    headers = [one["name"] for one in document["components"]["parameters"].values()]
    assert {"webhook-id", "webhook-timestamp", "webhook-signature"} < set(headers)
    sent = document["webhooks"]["job.succeeded"]["post"]["requestBody"]["content"]
    schema = sent["application/json"]["schema"]
    assert schema["properties"]["data"] == {"$ref": "#/components/schemas/SentJob"}
    events = [
        Untold(**NOTED, type="job.succeeded", job=DONE),
        Untold(**NOTED, type="job.succeeded", job=DONE, linked=True),
        Untold(**NOTED, type="batch.finished", batch=BATCH),
    ]
    for event in events:
        body = json.loads(event_body(event))
        kind = "SentJob" if event.batch is None else "SentBatch"
        check = validator_of(document, kind)
        assert [error.message for error in check.iter_errors(body["data"])] == []
        assert set(body["data"]) == set(document["components"]["schemas"][kind]["properties"])


def test_deliveries_are_as_described(document: dict[str, Any]) -> None:
    tried = Try(at=1_795_373_963_977, outcome="status_500", status=500, seconds=0.1)
    record = DeliveryRecord(
        id="wh_01i01k82a16m7e2q8kp9jnld5hk6h",
        owner=DONE.id,
        tenant="default",
        type="job.failed",
        url="https://example.com",
        endpoint="e",
        status=DeliveryStatus.PENDING,
        created_at=1_795_373_963_977,
        next_at=None,
        tries=[tried],
    )
    for component, shown in (
        ("Delivery", delivery_object(record)),
        ("Undelivered", undelivered_object(record)),
    ):
        check = validator_of(document, component)
        assert [error.message for error in check.iter_errors(shown)] == []
        assert set(shown) == set(document["components"]["schemas"][component]["properties"])


def test_definitions_of_one_name_stay_apart() -> None:
    other = {
        "$defs": {"Cat": {"type": "integer"}, "a b": {"type": "string"}, "a_b": {"type": "null"}},
        "type": "object",
        "properties": {
            "cat": {"$ref": "#/$defs/Cat"},
            "one": {"$ref": "#/$defs/a b"},
            "two": {"$ref": "#/$defs/a_b"},
            "again": {"$ref": "#/properties/cat"},
            "self": {"$ref": "#"},
            "$ref": {"const": {"$ref": "#/$defs/Cat"}},
        },
    }
    document = build(published("a"), published("b", input_schema=other))
    OpenAPIV31SpecValidator(document).validate()
    check = validator_of(document, "b.Input")
    assert check.is_valid({"cat": 1, "one": "x", "two": None, "again": 2, "self": {"cat": 3}})
    assert check.is_valid({"$ref": {"$ref": "#/$defs/Cat"}})
    for wrong in ({"cat": "x"}, {"one": None}, {"two": "x"}, {"again": "x"}, {"self": 3}):
        assert not check.is_valid(wrong)
    assert validator_of(document, "a.Input.Cat").is_valid({"kind": "cat", "price": "1.5"})


def test_notes_of_the_card_are_not_shown(document: dict[str, Any]) -> None:
    assert "x-pydantic" in json.dumps(published("embed").card)
    assert "x-pydantic" not in json.dumps(document)
    assert document["components"]["schemas"]["embed.Input"]["properties"]["text"]["examples"] == [
        "$ref"
    ]


def test_every_route_can_answer_with_a_problem(document: dict[str, Any]) -> None:
    for methods in document["paths"].values():
        for operation in methods.values():
            for status in ("4XX", "5XX"):
                answer = operation["responses"][status]
                assert answer == {"$ref": "#/components/responses/Problem"}
    problem = document["components"]["responses"]["Problem"]["content"]
    assert list(problem) == ["application/problem+json"]


def test_models_come_and_go() -> None:
    assert not [path for path in build()["paths"] if path.startswith("/v1/models/embed")]
    assert "embed.Input" not in build()["components"]["schemas"]


def test_every_operation_has_an_id_of_its_own() -> None:
    document = build(published("a"), published("b"), published("a.b"))
    ids = [
        operation["operationId"]
        for place in ("paths", "webhooks")
        for methods in document[place].values()
        for operation in methods.values()
    ]
    assert len(ids) == len(set(ids))
