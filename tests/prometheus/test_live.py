"""A real Prometheus scrapes a live run: what it has is what the client's own book says."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import pytest

from headrace.chaos.stack import until
from jobs.errors import CODES

from .files import alerts, documented, filled_in, recorded, targets
from .live import SUBMIT, SUBMIT_ROUTE, Book, Live, loaded_rules, rules_of, running
from .tools import Tools

#: The setup starts ten processes and runs a few hundred jobs.
pytestmark = pytest.mark.timeout(240)

HISTOGRAMS = {
    "http_request_seconds",
    "end_to_end_seconds",
    "queue_seconds",
    "run_seconds",
    "batch_size",
}


def run_all_sorts(book: Book) -> None:
    """Let jobs end in every way there is, by a worker, by an API, and by a sweep."""
    plain = [{"n": n, "seconds": 0.01 * (n % 3)} for n in range(160)]
    book.together(plain[:60], told=True)
    book.together(plain[60:100], priority="high")
    book.together(plain[100:130], priority="low")
    book.together(plain[130:], timeout_s=10)
    book.together([{"n": n, "do": "raise"} for n in range(12)], told=True)
    book.together([{"n": n, "do": "raise_once"} for n in range(8)])
    for _ in range(4):  # one job, however often it is asked for
        book.submit({"n": 1}, key="the same")
    book.together([{"n": "not a number"} for _ in range(9)])
    book.note(book.api().call("GET", "/v1/jobs/job_" + "0" * 29))
    book.note(book.api().call("GET", "/nowhere"))
    inputs = {"inputs": [{"n": n} for n in range(20)]}
    for job in book.api().call("POST", f"{SUBMIT}/batch", json=inputs).json()["jobs"]:
        book.accepted[job["id"]] = "normal"
    kill(book)
    hold_up(book)


def kill(book: Book) -> None:
    """Jobs that end their engine, and one that is killed for its time limit."""
    jobs = [book.submit({"do": "crash"}), book.submit({"do": "crash_once"})]
    jobs.append(book.submit({"do": "hang"}, timeout_s=1, told=True))
    for job in jobs:
        book.apis[0].finished(job["id"], 90)


def hold_up(book: Book) -> None:
    """Both workers are busy: what comes now can be canceled, or reaches its deadline, unrun."""
    long = []
    for _ in range(2):
        long.append(book.submit({"seconds": 9}))
        book.apis[0].reaches(long[-1]["id"], "running", 30)
    late = [book.submit({"n": n}, deadline_s=1, told=n < 2) for n in range(6)]
    unwanted = [book.submit({"n": n}) for n in range(7)]
    for job in [*unwanted, long[0]]:
        answer = book.api().cancel(job["id"])
        assert answer.status_code == 200, answer.text
    ended = [book.apis[1].finished(job["id"]) for job in [*late, *unwanted, *long]]
    statuses = Counter(job["status"] for job in ended)
    assert statuses == {"expired": 6, "canceled": 8, "succeeded": 1}


@pytest.fixture(scope="module")
def live(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with running(tools, tmp_path_factory.mktemp("live")) as found:
        run_all_sorts(found.book)
        found.book.finished()
        yield found


def settles(live: Live, expression: str, wanted: dict[tuple[str, ...], float], *by: str) -> None:
    """Wait for the scrapes after the last job, then what is there must be what was wanted."""
    last: dict[tuple[str, ...], float] = {}

    def there() -> bool:
        nonlocal last
        last = live.scrapes.by(expression, *by)
        return last == wanted

    try:
        until(there, 15, expression)
    except TimeoutError:
        assert last == wanted


def test_jobs_accepted_are_those_that_the_client_has(live: Live) -> None:
    wanted = Counter(live.book.accepted.values())
    expression = "sum by (priority) (headrace_jobs_submitted_total)"
    settles(live, expression, {(name,): count for name, count in wanted.items()}, "priority")


def test_each_end_is_counted_once(live: Live) -> None:
    wanted = live.book.finished()
    assert {status for status, _ in wanted} == {
        *("succeeded", "failed", "canceled", "expired", "timed_out")
    }
    assert wanted["failed", "poisoned"] == 1
    expression = "sum by (status, code) (headrace_jobs_finished_total)"
    settles(live, expression, dict(wanted), "status", "code")
    # Both kinds of process have ended some.
    canceled = 'count by (job) (headrace_jobs_finished_total{status="canceled"} > 0)'
    assert live.scrapes.by(canceled, "job") == {("api",): 2, ("worker",): 1}


def test_requests_and_refusals_are_those_that_the_client_has(live: Live) -> None:
    wanted = {(str(status),): count for status, count in live.book.answers.items()}
    route = f'headrace_http_requests_total{{method="POST", route="{SUBMIT_ROUTE}"}}'
    settles(live, f"sum by (status) ({route})", wanted, "status")
    # While it was waited for, probes were refused by design.
    errors = 'sum by (code) (headrace_http_errors_total{code!="not_ready"})'
    assert live.book.refused == {"invalid_input": 9, "no_such_job": 1, "not_found": 1}
    settles(live, errors, {(code,): n for code, n in live.book.refused.items()}, "code")
    shown = live.scrapes.query("count by (code) (headrace_http_errors_total)")
    assert {at["code"] for at, _ in shown} == {
        code for code, known in CODES.items() if known.http_status
    }


def test_webhooks_are_those_that_the_receiver_has(live: Live) -> None:
    receiver = live.book.receiver
    until(lambda: live.book.watched <= receiver.told, 30, "each end is told")
    until(lambda: live.scrapes.one("max(headrace_webhook_pending)") == 0, 30, "nothing waits")
    assert receiver.wrong == []

    def alike() -> bool:
        # The receiver answers some of the tries with 503, and cuts some off that it has taken: at
        # the last scrape such a delivery may not have been made again.
        retried, taken = receiver.calls - len(receiver.events), len(receiver.events)
        wanted = {("delivered",): float(taken), ("retry",): float(retried)}
        expression = "sum by (outcome) (headrace_webhook_deliveries_total)"
        counted = live.scrapes.by(expression, "outcome")
        return counted == {outcome: count for outcome, count in wanted.items() if count}

    until(alike, 30, "both have counted the same")
    outcomes = live.scrapes.query("headrace_webhook_deliveries_total")
    assert {at["outcome"] for at, _ in outcomes} == {
        *("delivered", "retry", "failed", "dropped", "gone")
    }


@pytest.mark.parametrize("name", documented())
def test_every_metric_is_there_and_sane(live: Live, name: str) -> None:
    found = live.scrapes.query(f'{{__name__=~"headrace_{name}(_bucket|_count|_sum)?"}}')
    assert found
    for at, value in found:
        assert math.isfinite(value), at
        assert value >= 0, at
        if name.endswith("_ratio") or name == "redis_up":
            assert value <= 1, at
    # OpenMetrics, which Prometheus asks for, names a counter without the end that its samples have.
    family = f"headrace_{name.removesuffix('_total')}"
    about = live.scrapes.ask("metadata", metric=family)
    kinds = {each["type"] for each in about.get(family, [])}
    histogram = name in HISTOGRAMS
    assert kinds == {
        "histogram" if histogram else "counter" if name.endswith("_total") else "gauge"
    }
    if histogram:
        full = f'sum(headrace_{name}_bucket{{le="+Inf"}})'
        assert live.scrapes.one(f"{full} - sum(headrace_{name}_count)") == 0
        assert (live.scrapes.one(f"sum(headrace_{name}_count)") or 0) > 0


def test_batches_and_times_have_room_for_what_ran(live: Live) -> None:
    ended = live.book.finished()
    ran = ended["succeeded", ""] + ended["failed", "model_error"]
    one = live.scrapes.one
    # The last scrape may be from before the last job.
    until(lambda: ran <= (one("sum(headrace_batch_size_sum)") or 0), 15, "each batch is counted")
    retried = 'sum(headrace_requeues_total{reason="retry"})'
    until(lambda: one(retried) == 8, 15, "each retry is counted")
    assert ran <= (one("sum(headrace_batch_size_sum)") or 0)
    assert ran <= (one("sum(headrace_end_to_end_seconds_count)") or 0) <= sum(ended.values())
    assert one("sum(headrace_batch_size_count) - sum(headrace_run_seconds_count)") == 0
    # Each job of raise_once went back once.
    assert live.scrapes.by("sum by (reason) (headrace_requeues_total)", "reason")[("retry",)] == 8
    restarts = live.scrapes.by("sum by (reason) (headrace_engine_restarts_total)", "reason")
    # One batch may have held both jobs that crash, and a canceled one may have been waited for.
    assert restarts["sigkill",] in {3, 4}
    assert set(restarts) <= {("sigkill",), ("timeout",), ("cancel",)}
    assert len(live.scrapes.query("count by (version) (headrace_build_info)")) == 1
    assert one("count(headrace_build_info)") == 5


@pytest.mark.parametrize(
    ("title", "expression"),
    list(targets()),
    ids=[f"{n}-{title}" for n, (title, _) in enumerate(targets())],
)
def test_every_panel_has_something_to_show(live: Live, title: str, expression: str) -> None:
    found = live.scrapes.query(filled_in(expression, interval="3m"))
    assert any(math.isfinite(value) for _, value in found), title


def test_every_rule_is_evaluated_and_nothing_critical_fires(live: Live) -> None:
    found = rules_of(live.scrapes)
    assert len(found) == loaded_rules()
    assert {rule["name"]: rule.get("lastError") for rule in found if rule["health"] != "ok"} == {}
    for name in recorded():
        assert live.scrapes.query(name), name
    # Also without the time for which each would have to be true.
    for name, rule in alerts().items():
        true = live.scrapes.query(rule["expr"])
        assert rule["labels"]["severity"] != "critical" or not true, name
    assert live.scrapes.query('ALERTS{severity="critical", alertstate="firing"}') == []


def test_each_api_tells_the_same_of_a_queue_without_workers(live: Live) -> None:
    """Comes late: it takes the workers away. What was accepted by either API is told by both."""
    for worker in live.workers:
        assert worker.stop() == 0
    waiting = [live.book.submit({"n": n}) for n in range(7)]
    for name in ("jobs_queued", "jobs_running", "workers_ready"):
        wanted = float(len(waiting)) if name == "jobs_queued" else 0.0

        def alike(name: str = name, wanted: float = wanted) -> bool:
            found = live.scrapes.query(f"headrace_{name}")
            return [value for _, value in found] == [wanted, wanted]

        until(alike, 30, name)
    spread = "max(headrace_queue_oldest_seconds) - min(headrace_queue_oldest_seconds)"
    assert (live.scrapes.one(spread) or 0) < 5
    assert (live.scrapes.one("min(headrace_queue_oldest_seconds)") or 0) > 0
    nobody = alerts()["HeadraceNoReadyWorkers"]["expr"]
    until(lambda: live.scrapes.one(nobody) == len(waiting), 15, "the alert sees it")
    down = f"count by (job) ({alerts()['HeadraceTargetDown']['expr']})"
    settles(live, down, {("worker",): 2}, "job")


def test_a_redis_that_is_gone_is_seen(live: Live) -> None:
    live.stack.redis.kill()
    expression = alerts()["HeadraceRedisDown"]["expr"]
    until(lambda: live.scrapes.query(expression), 30, "Redis is seen to be away")
    # What nobody knows is not told as if it were nothing.
    until(lambda: live.scrapes.query("headrace_jobs_queued") == [], 30, "no figures of the queue")
    assert live.scrapes.query(alerts()["HeadraceNoReadyWorkers"]["expr"]) == []
