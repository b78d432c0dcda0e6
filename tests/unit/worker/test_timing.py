"""What a worker learns of its model's speed."""

from __future__ import annotations

import pytest

from worker.learned import LearnedFile
from worker.timing import BusyShare, Timing, rest_s


def test_nothing_is_expected_before_the_first_batch():
    assert Timing().expected_s(8) is None


def test_the_first_batch_sets_the_figures_and_later_ones_move_them():
    timing = Timing()
    timing.ended(4, 1.0, fed_at=10.0, now=11.0)
    assert timing.expected_s(4) == 1.0
    assert timing.seconds_per_job == 0.25
    timing.ended(4, 2.0, fed_at=11.0, now=13.0)
    assert timing.expected_s(4) == pytest.approx(1.2)
    assert timing.seconds_per_job == pytest.approx(0.3)


def test_a_batch_is_expected_to_take_as_long_as_one_of_about_its_size():
    timing = Timing()
    timing.ended(1, 0.1, 0.0, 0.1)
    timing.ended(32, 0.8, 0.1, 0.9)
    assert timing.expected_s(1) == pytest.approx(0.1)
    assert timing.expected_s(40) == pytest.approx(0.8)
    assert timing.expected_s(20) == pytest.approx(0.8)


def test_the_gap_between_batches_of_a_busy_engine_counts_for_the_queue():
    timing = Timing()
    timing.ended(1, 1.0, fed_at=0.0, now=1.0)
    timing.ended(1, 1.0, fed_at=0.5, now=3.0)
    assert timing.seconds_per_job == pytest.approx(1.0 + 0.2)


def test_idle_time_does_not_count_for_the_queue():
    timing = Timing()
    timing.ended(1, 1.0, fed_at=0.0, now=1.0)
    timing.ended(1, 1.0, fed_at=100.0, now=101.0)
    assert timing.seconds_per_job == pytest.approx(1.0)


def test_a_batch_without_jobs_teaches_nothing():
    timing = Timing()
    timing.ended(0, 1.0, 0.0, 1.0)
    assert timing.seconds_per_job is None


def test_the_rest_of_a_batch_is_what_it_should_still_take():
    assert rest_s(10.0, 4.0) == 6.0


@pytest.mark.parametrize("expected_s", [None, 3.0])
def test_an_overdue_or_unknown_batch_is_given_as_long_again(expected_s):
    assert rest_s(expected_s, 4.0) == 4.0


def test_the_busy_share_is_of_the_last_minute():
    busy = BusyShare(now=0.0)
    busy.ran(5.0, now=10.0)
    assert busy.ratio(10.0) == pytest.approx(0.5)
    assert busy.ratio(50.0) == pytest.approx(0.1)
    assert busy.ratio(200.0) == 0.0


def test_the_busy_share_stays_small_however_short_batches_are():
    busy = BusyShare(now=0.0)
    for step in range(100_000):
        busy.ran(0.001, now=step / 1000)
    assert len(busy._seconds) <= busy.WINDOW_S + 2


def test_what_was_learned_survives_a_restart(tmp_path):
    first = LearnedFile(tmp_path, "embed", "1", "cuda:0")
    first.timing.ended(8, 0.4, 0.0, 0.4)
    first.timing.loaded(3.0)
    first.learned.safe_sizes["128"] = 16
    first.write()
    again = LearnedFile(tmp_path, "embed", "1", "cuda:0")
    assert again.timing.expected_s(8) == 0.4
    assert (again.timing.load_s, again.learned.safe_sizes) == (3.0, {"128": 16})
    assert LearnedFile(tmp_path, "embed", "2", "cuda:0").timing.load_s is None


def test_a_broken_file_of_figures_is_as_good_as_none(tmp_path):
    file = LearnedFile(tmp_path, "embed", "1", "cpu")
    file.write()
    (path,) = (tmp_path / "learned").iterdir()
    path.write_text('{"load_s": "soon"}')
    assert LearnedFile(tmp_path, "embed", "1", "cpu").timing.load_s is None


def test_figures_that_cannot_be_kept_are_no_reason_to_fail(tmp_path):
    (tmp_path / "learned").write_text("a file where the folder should be")
    LearnedFile(tmp_path, "embed", "1", "cpu").write()
