"""Models as the API shows them: cards, schemas, health and the figures for autoscalers."""

from __future__ import annotations

from pathlib import Path

from headrace.chaos.stack import Api

from .held import BETWEEN, blocked


def test_a_card_says_what_a_client_needs(api: Api) -> None:
    card = api.call("GET", "/v1/models/kinds").json()
    assert (card["name"], card["state"]) == ("kinds", "ready")
    assert "1" in str(card["versions"])
    assert card["input_schema"]["properties"]["count"]["maximum"] == 10
    assert card["output_schema"]["properties"]["text"]["type"] == "string"
    assert card["example"] == {"text": "hello"}
    assert len(card["workers"]) == 1
    assert card["queue"] is not None
    assert "reason" in card


def test_all_cards_are_listed(api: Api) -> None:
    data = api.call("GET", "/v1/models").json()["data"]
    assert {"echo", "actor", "kinds"} <= {card["name"] for card in data}


def test_the_example_of_a_card_runs(api: Api) -> None:
    for name in ("echo", "actor", "kinds"):
        example = api.call("GET", f"/v1/models/{name}").json()["example"]
        assert api.run(name, example)["status"] == "succeeded"


def test_the_figures_for_autoscalers(api: Api, tmp_path: Path) -> None:
    with blocked(api, tmp_path):
        scale = api.call("GET", "/v1/models/actor/scale").json()
    assert set(scale) == {"queued", "running", "workers_ready", "backlog_seconds", "wanted"}
    # One is on the device; some may have been started just behind it.
    assert scale["running"] >= 1
    assert scale["queued"] >= 1
    assert scale["running"] + scale["queued"] == 1 + BETWEEN
    assert scale["workers_ready"] == 1
    assert scale["backlog_seconds"] > 0
    assert scale["wanted"] >= 1
    assert api.call("GET", "/v1/models/actor/scale").json()["queued"] == 0


def test_a_queued_job_knows_its_place(api: Api, tmp_path: Path) -> None:
    with blocked(api, tmp_path):
        job = api.submit("actor", {})["id"]
        queue = api.get(job)["queue"]
        # What a worker has claimed has nobody before it.
        assert 0 <= queue["ahead"] <= BETWEEN + 1
        assert queue["eta_s"] is None or queue["eta_s"] >= 0
    api.finished(job)


def test_health_of_the_api_and_of_a_model(api: Api) -> None:
    assert api.status("/livez") == api.status("/healthz") == 200
    assert api.status("/healthz?model=echo") == 200
    assert api.status("/healthz?model=nothing") == 503


def test_openapi_has_a_typed_body_for_each_model(api: Api) -> None:
    schema = api.call("GET", "/openapi.json").json()
    assert schema["openapi"].startswith("3.1")
    paths = [path for path in schema["paths"] if path.startswith("/v1/models/")]
    assert "/v1/models/kinds/jobs" in paths
    body = schema["paths"]["/v1/models/kinds/jobs"]["post"]["requestBody"]
    assert "kinds" in str(body).lower()
    assert "202" in schema["paths"]["/v1/models/kinds/jobs"]["post"]["responses"]


def test_docs_are_a_page(api: Api) -> None:
    page = api.call("GET", "/docs")
    assert page.status_code == 200
    assert "text/html" in page.headers["content-type"]


def test_no_origin_is_allowed_by_default(api: Api) -> None:
    answer = api.call("GET", "/v1/models", headers={"Origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in answer.headers
