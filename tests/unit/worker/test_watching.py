"""Time limits, cancels, probes and readiness, with a clock and an engine that obey the test."""

from __future__ import annotations

from worker.cancels import Cancels
from worker.engine_handle import EngineState
from worker.feeder import Feeder
from worker.health import probes
from worker.holding import Phase
from worker.ladder import MOST_KILLS
from worker.probing import Prober, readiness, silent
from worker.returning import Returner
from worker.settling import Settler
from worker.watchdog import Watchdog
from worker.wire import Cancel, Drop, Probe


def test_a_job_over_its_limit_is_told_and_killed_after_the_grace(station, clock, run):
    watchdog = Watchdog(station)
    run("slow", "mate", timeout_s=30.0)
    clock.now += 29
    watchdog.look()
    assert station.engine.sent == []
    clock.now += 2
    watchdog.look()
    assert station.engine.sent == [Cancel([1]), Cancel([2])]
    clock.now += 4.9
    watchdog.look()
    assert station.engine.kills == []
    clock.now += 0.2
    watchdog.look()
    assert station.engine.kills == ["timeout"]


def test_a_canceled_job_s_batch_is_let_run_while_a_reload_costs_more(station, clock, run):
    watchdog = Watchdog(station)
    station.timing.load_s = 60.0
    run("a", expected_s=20.0)
    Cancels(station, Settler(station)).asked(["a"])
    clock.now += 10
    watchdog.look()
    assert station.engine.kills == []
    clock.now += 45
    watchdog.look()
    assert station.engine.kills == []
    clock.now += 10
    watchdog.look()
    assert station.engine.kills == ["cancel"]


def test_a_tenant_that_cancels_in_a_loop_runs_out_of_kills(station, clock, run):
    watchdog = Watchdog(station)
    cancels = Cancels(station, Settler(station))
    for number in range(MOST_KILLS + 1):
        run(f"job{number}", tenant="loop")
        cancels.asked([f"job{number}"])
        clock.now += 6
        watchdog.look()
        station.engine.dying = False
        station.holding.jobs.clear()
    assert station.engine.kills == ["cancel"] * MOST_KILLS
    clock.now += 300
    run("other", tenant="other")
    cancels.asked(["other"])
    clock.now += 6
    watchdog.look()
    assert len(station.engine.kills) == MOST_KILLS + 1


def test_preparing_counts_while_nothing_runs_and_waiting_for_another_batch_does_not(
    station, clock, hold, run
):
    watchdog = Watchdog(station)
    run("first", timeout_s=100.0)
    hold("second", Phase.STARTED, timeout_s=2.0)
    clock.now += 10
    watchdog.look()
    assert station.engine.sent == []
    station.holding.forget(station.holding.jobs["first"])
    station.holding.forget_batches()
    station.heard_at = clock.now
    clock.now += 3
    watchdog.look()
    assert station.engine.sent == [Cancel([2])]


def test_an_engine_that_says_nothing_of_its_jobs_is_stalled(station, clock, hold):
    watchdog = Watchdog(station)
    hold("a", Phase.FED)
    clock.now += 299
    watchdog.look()
    assert station.engine.kills == []
    clock.now += 2
    watchdog.look()
    assert station.engine.kills == ["stalled"]


def test_a_batch_whose_jobs_others_have_is_killed_once_a_load_is_cheaper(station, clock, run):
    watchdog = Watchdog(station)
    station.timing.load_s = 3.0
    run("gone", expected_s=1.0)
    Cancels(station, Settler(station)).lost(["gone"])
    for _ in range(3):
        watchdog.look()
        clock.now += 0.9
    assert station.engine.kills == []
    clock.now += 1
    watchdog.look()
    assert station.engine.kills == ["buried"]


def test_waiting_for_redis_is_no_stall(station, clock, hold):
    hold("a", Phase.FED)
    hold("b", Phase.STARTING)
    clock.now += 1000
    Watchdog(station).look()
    assert station.engine.kills == []


def test_an_engine_that_is_not_there_is_not_watched(station, clock, run):
    run("a")
    station.engine.state = EngineState.LOADING
    clock.now += 1000
    Watchdog(station).look()
    assert station.engine.sent == []


def test_a_cancel_drops_what_has_not_begun_and_tells_of_what_has(station, hold, run):
    cancels = Cancels(station, Settler(station))
    hold("fed", Phase.FED)
    hold("starting", Phase.STARTING)
    hold("settling", Phase.SETTLING)
    run("running")
    cancels.asked(["fed", "starting", "settling", "running", "unknown"])
    cancels.asked(["running"])
    assert station.engine.sent == [Drop([1]), Cancel([2, 4])]
    assert "fed" not in station.holding.jobs
    assert not station.holding.jobs["settling"].canceled


def test_a_started_job_that_waits_aside_is_canceled_without_the_gpu(station, hold):
    held = hold("aside", Phase.ASIDE, started=True)
    Cancels(station, Settler(station)).asked(["aside"])
    assert held.phase is Phase.SETTLING


def test_what_another_worker_has_taken_is_let_go(station, hold, run):
    hold("fed", Phase.FED)
    hold("settling", Phase.SETTLING)
    run("running")
    Cancels(station, Settler(station)).lost(["fed", "settling", "running"])
    assert station.engine.sent == [Drop([1]), Cancel([3])]
    assert list(station.holding.jobs) == ["settling"]


def test_a_loaded_engine_is_ready_and_an_unloaded_one_says_why_not(station):
    assert readiness(station).ready
    station.engine.state, station.engine.reason = EngineState.FAILED, "no weights"
    assert (readiness(station).state, readiness(station).reason) == ("failed", "no weights")


def test_a_batch_inside_its_limit_proves_readiness_and_one_beyond_it_disproves(station, clock, run):
    run("a", timeout_s=30.0)
    clock.now += 29
    assert readiness(station).ready
    clock.now += 2
    assert (readiness(station).state, "30 s" in readiness(station).reason) == ("unready", True)


def test_an_idle_engine_has_to_answer_probes_to_be_ready(station, clock):
    prober = Prober(station)
    prober.look()
    assert station.engine.sent == []
    clock.now += 5
    prober.look()
    assert station.engine.sent == [Probe(1)]
    station.probe_answered, station.kernel_ran_at = 1, clock.now
    clock.now += 1
    prober.look()
    clock.now += 5
    prober.look()
    assert station.engine.sent == [Probe(1), Probe(2)]
    assert readiness(station).ready
    clock.now += 10
    assert readiness(station).state == "unready"
    prober.look()
    assert station.engine.kills == []
    clock.now += 21
    prober.look()
    assert station.engine.kills == ["hung"]
    assert readiness(station).state == "unready"


def test_an_engine_that_does_not_answer_probes_is_fed_nothing(station, clock, run):
    feeder = Feeder(station, Cancels(station, Settler(station)), Returner(station))
    station.registered = True
    assert feeder._plan().count == 1
    clock.now += 12
    assert feeder._plan().count == 0
    run("a")
    assert not silent(station)


def test_a_busy_engine_is_not_probed(station, clock, run):
    prober = Prober(station)
    prober.look()
    run("a")
    clock.now += 100
    prober.look()
    assert station.engine.sent == []


async def test_probes_over_http_tell_state_and_reason(station, clock):
    routes = probes(station)
    assert (await routes["/healthz"]())[0] == 200
    assert (await routes["/livez"]())[0] == 200
    clock.now += 100
    status, body = await routes["/healthz"]()
    assert (status, body["state"], body["model"]) == (503, "unready", "m")
    assert "100 s" in body["reason"]
    station.quiet = True
    assert (await routes["/healthz"]())[1]["state"] == "draining"
    assert (await routes["/livez"]())[0] == 503
