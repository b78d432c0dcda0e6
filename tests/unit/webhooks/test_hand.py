"""How many deliveries of whom are held."""

from __future__ import annotations

from webhooks.breaker import Breaker
from webhooks.hand import EACH, Hand, Held

from .rig import delivery


def hand_of(*endpoints, **more):
    breaker = Breaker(lambda: 0.0)
    hand = Hand(breaker, **more)
    for number, endpoint in enumerate(endpoints):
        hand.put(Held(7, delivery(number, endpoint), 100.0))
    return breaker, hand


def begin(hand):
    begun = []
    while (held := hand.next()) is not None:
        begun.append(held)
    return begun


def test_eight_at_once_and_sixty_four_that_wait():
    _, hand = hand_of(*["a"] * 10)
    assert len(begin(hand)) == 8
    assert hand.room_of("a") == EACH - 10 == 62
    assert hand.room_of("b") == EACH
    assert hand.rooms() == {"a": 62}


def test_one_that_fails_has_no_more_waiting_than_under_way():
    breaker, hand = hand_of()
    breaker.failed("a")
    assert hand.room_of("a") == 2
    assert hand.rooms() == {"a": 2}


def test_one_that_is_left_alone_takes_nothing():
    breaker, hand = hand_of()
    for _ in range(10):
        breaker.failed("a")
    assert hand.rooms() == {"a": 0}
    assert not hand.put(Held(7, delivery(0, "a"), 100.0))
    assert len(hand) == 0


def test_a_slow_one_has_fewer_waiting_and_is_forgotten_once_it_is_quick():
    _, hand = hand_of()
    for seconds, expected in [(10.0, 21), (10.0, 15), (0.01, 19)]:
        hand.put(Held(7, delivery(0, "a"), 100.0))
        [held] = begin(hand)
        hand.done(held, seconds)
        assert hand.room_of("a") == expected
    for _ in range(10):
        hand.put(Held(7, delivery(0, "a"), 100.0))
        [held] = begin(hand)
        hand.done(held, 0.01)
    assert hand.rooms() == {}


def test_those_that_wait_begin_as_others_end():
    _, hand = hand_of(*["a"] * 12)
    first = begin(hand)
    for held in first[:3]:
        hand.done(held)
    assert [held.delivery.id for held in begin(hand)] == [delivery(n).id for n in (8, 9, 10)]
    assert hand.waiting("a") == 1
    assert hand.under_way == 8


def test_what_waits_can_be_given_up_and_what_is_under_way_not():
    _, hand = hand_of(*["a"] * 12, "b")
    first = begin(hand)
    assert len(hand.give_up("a")) == 4
    assert hand.give_up("a") == hand.give_up("nobody") == []
    assert len(hand) == len(first) == 9
    for held in first:
        hand.done(held)
    assert len(hand) == hand.under_way == 0
    assert hand.rooms() == {}


def test_room_is_for_all_of_them_together():
    _, hand = hand_of(*["a"] * 12, held=20)
    assert hand.room == 8


def crowd(hand, count, *, tenant="acme", first=0):
    """Deliveries to as many paths of one host."""
    for number in range(first, first + count):
        url = f"https://slow.example/{number}"
        one = delivery(number, f"{tenant}-{number}", tenant=tenant, url=url)
        hand.put(Held(7, one, 100.0))


def test_many_paths_of_one_host_take_a_quarter_of_all():
    _, hand = hand_of(under_way=64, held=400)
    crowd(hand, 300)
    assert len(hand) == 100
    begun = begin(hand)
    assert len(begun) == 16
    hand.put(Held(7, delivery(999, "other"), 100.0))
    assert [held.delivery.endpoint for held in begin(hand)] == ["other"]
    # The next of the crowd goes as one has ended, and none before.
    hand.done(begun[0])
    assert [held.delivery.endpoint for held in begin(hand)] == ["acme-16"]
    assert begin(hand) == []


def test_another_tenant_at_the_same_host_is_another_crowd():
    _, hand = hand_of(under_way=64, held=400)
    crowd(hand, 50)
    begin(hand)
    crowd(hand, 3, tenant="other", first=100)
    assert len(begin(hand)) == 3


def test_a_crowd_that_has_ended_or_was_given_up_leaves_nothing_behind():
    _, hand = hand_of(under_way=64, held=400)
    crowd(hand, 60)
    begun = begin(hand)
    assert len(hand.give_up_all()) == 60 - len(begun)
    for held in begun:
        hand.done(held)
    assert (len(hand), hand.under_way, hand._crowds, hand._lines) == (0, 0, {}, {})
    crowd(hand, 60)
    while begun := begin(hand):
        for held in begun:
            hand.done(held)
    assert (len(hand), hand._crowds) == (0, {})
