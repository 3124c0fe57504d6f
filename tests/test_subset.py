"""Subset: part credit that neither naming all nor naming none can earn, and chance as the best blind guess."""

import itertools

import numpy as np
import pytest

from ssl4rl_core import Subset, UsageError
from ssl4rl_core.answers import load_answer

ANSWER = Subset(["C", "A"], options="ABCDEF")


@pytest.mark.parametrize("text", ["A, C", "C,A", "a c", "A and C", "A; C", "['A', 'C']", "{A, C}.", "**A, C**", "A\nC"])
def test_any_honest_spelling(text: str):
    assert ANSWER.score_text(text) == 1.0


@pytest.mark.parametrize("text", ["", "none", "A, C, C", "A, G", "AC", "A or C", "A C E F B D", "A/C", ",", "A, C?!x"])
def test_what_earns_nothing(text: str):
    assert ANSWER.score_text(text) == 0.0


def test_part_credit():
    assert ANSWER.text() == "A, C"
    assert ANSWER.score_text("A") == 0.5
    assert ANSWER.score_text("A, B") == pytest.approx(0.25)
    assert ANSWER.score_text("A, C, B") == pytest.approx(0.75)
    assert ANSWER.score_text("B, D") == 0.0


@pytest.mark.parametrize(("right", "count"), [(1, 2), (1, 4), (2, 6), (3, 5), (5, 6)])
def test_chance_is_the_best_of_all_blind_guesses(right: int, count: int):
    options = "ABCDEF"[:count]
    truths = [Subset(chosen, options) for chosen in itertools.combinations(options, right)]
    guesses = [", ".join(named) for size in range(1, count + 1) for named in itertools.combinations(options, size)]
    best = max(np.mean([truth.score_text(guess) for truth in truths]) for guess in guesses)
    assert truths[0].chance() == pytest.approx(best)
    assert truths[0].chance() < 1


def test_options_of_several_words():
    answer = Subset(["New York"], ["New York", "York", "the sea"])
    assert answer.score_text("new york") == 1.0
    assert answer.score_text("New, York") == 0.0
    assert answer.score_text("New York, York") == 0.5


def test_options_that_hold_what_elsewhere_separates():
    options = ["bread and butter", "bread", "butter", "R&D"]
    assert Subset(["bread and butter", "R&D"], options).score_text("Bread and butter, R&D") == 1.0
    assert Subset(["bread", "butter"], options).score_text("bread and butter") == 0.0
    assert Subset(["A", "C"], options="ABC").score_text("A & C") == 1.0
    with pytest.raises(ValueError, match="line break"):
        Subset(["a\nb"], ["a\nb", "c"])


def test_json_and_drawing():
    assert load_answer(ANSWER.to_json()) == ANSWER
    drawn = {ANSWER.draw(np.random.default_rng(seed)).text() for seed in range(200)}
    assert len(drawn) == 15


@pytest.mark.parametrize(
    ("chosen", "options"), [([], "AB"), ("AB", "AB"), (["Z"], "AB"), (["A"], ["A", "a"]), (["a,b"], ["a,b", "c"])]
)
def test_what_is_no_subset_is_refused(chosen, options):
    with pytest.raises(ValueError, match=r"Subset|options"):
        Subset(chosen, options)
    with pytest.raises(UsageError):
        load_answer('{"kind":"subset","chosen":["A"],"options":["A"]}')
