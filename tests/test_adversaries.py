"""Nothing earns without looking; whoever looks may spell the answer in any honest way."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssl4rl_core import Angle, Answer, Choice, Permutation, Record, Subset, TaskError, registry, verify
from ssl4rl_core.answers import canonical_json
from ssl4rl_core.plugins import Registry
from ssl4rl_core.testing.adversaries import ADVERSARIES, adjusted, completions, try_adversaries
from ssl4rl_core.testing.significance import SIGNIFICANCE, above_chance, binomial_tail, groups_needed, holm, matched
from ssl4rl_core.testing.spellings import honest_spellings

FORMATS = [registry().format(name) for name in ("think_answer", "answer_only", "boxed")]
QUADRANTS = ("top-left", "top-right", "bottom-left", "bottom-right")
SPACES: list[list[Answer]] = [
    [Choice(place, QUADRANTS) for place in QUADRANTS],
    [Choice(value, ("yes", "no")) for value in ("yes", "no")],
    [Choice(letter, "ABCDEF") for letter in "ABCDEF"],
    [Angle(degrees, step=45) for degrees in range(0, 360, 45)],
    [Angle(degrees, step=15, partial=True) for degrees in range(0, 360, 15)],
    [Permutation(order, partial=True, discount=0.5) for order in itertools.permutations([1, 2, 3, 4])],
    [Subset(chosen, "ABCDE") for chosen in itertools.combinations("ABCDE", 2)],
]
ODD: list[Answer] = [
    Choice("the sea", ["sea", "the sea"]),
    Choice(".NET", ["NET", ".NET"]),
    Choice("Jacob\u2019s caf\u00e9", ["Jacob\u2019s caf\u00e9", "Jacobs cafe"]),
    Choice("x" * 2000, ["x" * 2000, "y"]),
    Permutation(range(36, 0, -1)),
    Permutation([2, 1]),
    Subset(["bread and butter", "jam"], ["bread and butter", "bread", "butter", "jam"]),
    Subset(["New York"], ["New York", "York"]),
    Subset(["R&B", "jazz"], ["R&B", "jazz", "rock", "folk"]),
]
spaces = pytest.mark.parametrize("space", SPACES, ids=lambda space: f"{space[0].kind}-{len(space)}")
formats = pytest.mark.parametrize("asked", FORMATS, ids=lambda asked: asked.name)


NUMBERS = itertools.count()


class Found(Registry):
    """A registry of one task."""

    def __init__(self, task: Any) -> None:
        super().__init__()
        self.tasks["x"] = task


def record(answer: Answer, chance: float | None = None) -> Record:
    names = dict.fromkeys(("task", "level", "question", "source"), "x")
    names |= dict.fromkeys(("item", "group"), f"item-{next(NUMBERS)}")
    texts = {"parts": canonical_json([]), "params": "{}", "answer": answer.to_json(), "answer_text": answer.text()}
    chance = answer.chance() if chance is None else chance
    return Record(version=1, chance=chance, variant=0, split="train", **names, **texts)


@formats
@pytest.mark.parametrize(
    "answer", [*(space[i] for space in SPACES for i in (0, -1)), *ODD], ids=lambda answer: answer.text()[:20]
)
def test_every_honest_spelling_of_a_right_answer_scores_one(answer, asked):
    spellings = honest_spellings(answer)
    assert spellings[0] == answer.text() and len(spellings) > 15
    for spelling in spellings:
        if asked.name == "boxed" and "\\boxed" in spelling:
            continue  # two boxes are a broken format there
        read = asked.extract(asked.wrap(spelling, "It may be so."))
        assert read is not None and answer.score_text(read) == 1.0, spelling


@spaces
def test_no_spelling_of_one_answer_is_another(space):
    for answer, other in itertools.permutations(space[:8], 2):
        assert all(other.score_text(text) == other.score(answer) for text in honest_spellings(answer))


@formats
@spaces
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_no_completion_earns_more_than_chance_over_all_right_answers(space, asked, data):
    completion = data.draw(completions(space[0], asked))
    read = asked.extract(completion)
    if read is not None:
        assert math.fsum(truth.score_text(read) for truth in space) / len(space) <= space[0].chance() + 1e-12


@formats
@spaces
def test_no_adversary_earns_more_than_chance(space, asked):
    rng = np.random.default_rng(0)
    records = [record(space[0].draw(rng)) for _ in range(300)]
    trials = adjusted(try_adversaries(records, asked, registry()))
    assert len(trials) == len(ADVERSARIES) > 60
    assert [trial for trial in trials if not trial.passes] == []
    earned = {trial.adversary: trial.score for trial in trials}
    # Two answers are none, except to a question for several.
    if space[0].kind != "subset":
        assert earned["all, by commas"] == earned["one or another"] == earned["a megabyte of all"] == 0
    assert earned["unclosed thinking"] == earned["reversed tags"] == earned["a block for each answer"] == 0
    assert earned["a uniform draw"] > 0


def test_a_chance_stated_too_low_and_an_answer_that_comes_too_often_are_caught():
    rng = np.random.default_rng(0)
    understated = [record(space_answer, chance=0.1) for space_answer in (SPACES[0][0].draw(rng) for _ in range(400))]
    assert any(not trial.passes for trial in adjusted(try_adversaries(understated, FORMATS[0], registry())))
    skewed = [record(SPACES[0][0 if rng.random() < 0.4 else 1 + int(rng.integers(3))]) for _ in range(400)]
    failed = {t.adversary for t in adjusted(try_adversaries(skewed, FORMATS[0], registry())) if not t.passes}
    assert "the most frequent" in failed


def test_a_verifier_that_reads_the_first_of_several_answers_is_caught():
    class Lenient:
        version, answer_types = 1, ()

        def verify(self, answer, text):
            return float(answer.value in text)

    rng = np.random.default_rng(0)
    records = []
    for _ in range(200):
        plain = record(Choice(QUADRANTS[int(rng.integers(4))], QUADRANTS))
        records.append(plain.model_copy(update={"answer": plain.answer[:-1] + ',"verifier":"x"}'}))
    failed = {t.adversary for t in adjusted(try_adversaries(records, FORMATS[0], Found(Lenient()))) if not t.passes}
    assert {"all, by commas", "all, by or", "the hint"} <= failed


@pytest.mark.parametrize("score", [math.nan, math.inf, -1.0, 7])
def test_a_score_of_a_tasks_own_code_stays_in_range_and_is_a_number(score):
    own = type("X", (), {"version": 1, "answer_types": (), "verify": lambda self, answer, text: score})()
    asked = record(SPACES[0][0])
    asked = asked.model_copy(update={"answer": asked.answer[:-1] + ',"verifier":"x"}'})
    found = Found(own)
    if math.isnan(score):
        with pytest.raises(TaskError, match="task x scores '90' as not a number"):
            verify(asked, FORMATS[1].wrap("90"), FORMATS[1], found)
    else:
        assert verify(asked, FORMATS[1].wrap("90"), FORMATS[1], found).score == min(max(score, 0), 1)


@pytest.mark.parametrize(("right", "of", "share"), [(60, 100, 0.5), (500, 10_000, 1 / 24), (0, 10, 0.5), (10, 10, 0.5)])
def test_the_binomial_tail_is_scipys(right, of, share):
    stats = pytest.importorskip("scipy.stats", reason="compares with scipy")
    assert binomial_tail(right, of, share) == pytest.approx(
        stats.binomtest(right, of, share, "greater").pvalue, rel=1e-8
    )


def test_p_values():
    assert above_chance([0.5] * 10, [0.25] * 10) == 0
    assert above_chance([0.25] * 10, [0.25] * 10) == 1
    assert above_chance([1.0, 0.0] * 50, [0.5] * 100) > 0.4
    partial = np.random.default_rng(0).random(400)
    assert above_chance(partial.tolist(), [0.5] * 400) > 0.001 > above_chance(partial.tolist(), [0.4] * 400)
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@pytest.mark.parametrize("chance", [0.1, 0.25, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("items", [9, 18, 64])
def test_variants_of_an_item_that_decides_the_answer_are_not_taken_for_independent(items, chance):
    rng = np.random.default_rng(0)
    groups = [str(number) for number in range(items) for _ in range(17)]
    flagged = 0
    for _ in range(1000):
        scores = np.repeat(rng.random(items) < chance, 17).astype(float).tolist()
        flagged += above_chance(scores, [chance] * len(groups), groups) < SIGNIFICANCE
    assert flagged <= 4  # as often as 1 in 1000, by luck


def test_what_differs_between_variants_is_found_in_few_items():
    rng = np.random.default_rng(0)
    answers = ["ab"[int(number)] for number in rng.integers(2, size=90)]
    told = [answer if rng.random() < 0.75 else "a" for answer in answers]
    deaf = ["ab"[int(number)] for number in rng.integers(2, size=90)]
    items = [str(number % 3) for number in range(90)]
    assert matched(zip(items, told, answers, strict=True)) < SIGNIFICANCE
    assert matched(zip(items, deaf, answers, strict=True)) > 0.01
    # Of three items, each of which has one answer only, nothing is known.
    assert matched(zip(items, items, items, strict=True)) == 1


def test_chance_that_is_far_too_low_shows_where_items_come_again():
    rng = np.random.default_rng(0)
    scores = rng.integers(2, size=300).astype(float).tolist()
    assert above_chance(scores, [0.25] * 300, [str(number % 18) for number in range(300)]) < SIGNIFICANCE


@pytest.mark.parametrize("chance", [0.25, 0.5, 0.6, 0.9])
@pytest.mark.parametrize("tests", [1, 16])
def test_how_many_groups_are_needed_is_how_few_can_be_sure(chance: float, tests: int):
    needed = groups_needed(tests, chance)
    for groups in (needed - 1, needed):
        names = [str(number) for number in range(groups)] * 2
        sure = above_chance([1.0] * len(names), [chance] * len(names), names) * tests < SIGNIFICANCE
        assert sure == (groups == needed)
