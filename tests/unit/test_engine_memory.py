"""Batch sizes that fit are remembered by bucket of cost."""

from worker.engine.memory import SafeSizes


def test_nothing_learned_allows_the_maximum():
    assert SafeSizes({}, 32).limit(100) == 32


def test_what_did_not_fit_holds_for_this_cost_and_above():
    sizes = SafeSizes({}, 32)
    assert sizes.learn(100, 16) == ("128", 16)
    assert [sizes.limit(each) for each in (64, 65, 128, 500)] == [32, 16, 16, 16]
    assert sizes.learn(500, 20) == ("512", 16)
    assert sizes.learn(100, 8) == ("128", 8)
    assert sizes.limit(500) == 8


def test_it_starts_from_what_was_known_and_ignores_nonsense():
    sizes = SafeSizes({"256": 4, "0.5": 0}, 32)
    assert sizes.limit(256) == 4
    assert sizes.limit(100) == 32
    assert sizes.learn(0.3, 0) == ("0.5", 1)
