"""Clock and learning rate against closed forms."""

import math

import pytest

from attnseg.config import TrainingConfig
from attnseg.training.schedule import Clock, learning_rate, rarity


def test_progress_by_steps():
    settings = TrainingConfig(epochs=4, steps_per_epoch=25)
    assert Clock(settings, step=0).progress == 0
    assert Clock(settings, step=50).progress == 0.5
    assert Clock(settings, step=100).progress == 1


def test_progress_by_minutes_counts_what_was_before_a_resume():
    time = iter([100.0, 160.0, 160.0])
    clock = Clock(TrainingConfig(max_minutes=4), seconds=60, now=lambda: next(time))
    assert clock.elapsed == 120
    assert clock.progress == 0.5


def test_time_left():
    time = iter([0.0] + [30.0] * 9)
    clock = Clock(TrainingConfig(epochs=2, steps_per_epoch=50), step=25, now=lambda: next(time))
    assert clock.seconds_left == pytest.approx(90)


def test_learning_rate_rises_then_follows_half_a_cosine():
    settings = TrainingConfig(learning_rate=2.0, warmup=0.2)
    assert learning_rate(settings, 0.1) == pytest.approx(1.0)
    assert learning_rate(settings, 0.2) == pytest.approx(2.0)
    assert learning_rate(settings, 0.6) == pytest.approx(1.0)
    assert learning_rate(settings, 0.8) == pytest.approx(1 + math.cos(0.75 * math.pi))
    assert learning_rate(settings, 1.0) == pytest.approx(0.0)
    assert learning_rate(settings, 1.5) == pytest.approx(0.0), "a step past the budget"
    assert learning_rate(settings, 0.0) > 0, "the very first step already learns"


def test_without_warm_up_it_starts_at_the_top():
    assert learning_rate(TrainingConfig(learning_rate=1.0, warmup=0), 0.0) == 1.0


def test_rare_classes_weigh_more_in_the_first_half_only():
    assert [rarity(progress) for progress in (0, 0.25, 0.5, 0.75, 1.2)] == [0.5, 0.25, 0, 0, 0]
