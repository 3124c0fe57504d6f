"""Every honest spelling of a right answer counts; nothing that hedges does."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl4rl_core import Angle, Choice, Permutation, UsageError
from ssl4rl_core.answers import load_answer

QUADRANTS = ("top-left", "top-right", "bottom-left", "bottom-right")
ANSWERS = [
    Choice("top-left", QUADRANTS),
    Choice("yes", ["yes", "no"]),
    Angle(90, step=90),
    Angle(345, step=15, partial=True),
    Permutation([3, 1, 4, 2]),
    Permutation(range(36, 0, -1), partial=True, discount=0.5),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_the_canonical_text_scores_one_and_survives_json(answer):
    assert answer.score_text(answer.text()) == 1.0
    assert load_answer(answer.to_json()) == answer


@pytest.mark.parametrize("text", ["90", "90.0", " 90 degrees", "90°", "+90", "$90^\\circ$", "90 deg.", "**90**", "-270",
                                  "270 degrees clockwise", "90 degrees counter-clockwise", "090", '"90"'])  # fmt: skip
def test_an_angle_in_any_honest_spelling(text):
    assert Angle(90, step=90).score_text(text) == 1.0


@pytest.mark.parametrize(
    "text",
    ["", " ", "0 90 180 270", "90, 180", "90 or 180", "90/180", "９０", "٩٠", "nan", "inf", "1e400", "9e1", "45",
     "90.5", "450", "ninety", "90 90", "90%", "90\x00", "<90>", "90 radians", "not 90", "--90", "0x5a", "9" * 10_000,
     ".90", "-90 clockwise", "-270 cw", "90" + " " * 600 + "180", "{90}{180}", "\\boxed{9}\\boxed{0}", "⁹⁰"],
)  # fmt: skip
def test_what_is_no_angle_scores_nothing(text):
    assert Angle(90, step=90).score_text(text) == 0.0


def test_negative_zero_and_a_full_turn_are_zero():
    assert Angle(0, step=90).score_text("-0") == Angle(0, step=90).score_text("360") == 1.0
    assert Angle(90, step=90).score_text("-0") == 0.0


def test_partial_credit_falls_with_the_distance_round_the_circle():
    answer = Angle(345, step=15, partial=True)
    assert answer.score_text("0") == pytest.approx(1 - 15 / 180)
    assert answer.score_text("165") == 0.0


@pytest.mark.parametrize("text", ["top-left", "Top Left", "the top left", "top_left.", "`top-left`", "(TOP-LEFT)"])
def test_a_choice_in_any_honest_spelling(text):
    assert Choice("top-left", QUADRANTS).score_text(text) == 1.0


@pytest.mark.parametrize(
    "text",
    ["top", "left", "top-left, top-right", "top-left or top-right", " ".join(QUADRANTS), "tоp-left", "not top-left"],
)
def test_what_names_no_single_option_scores_nothing(text):
    assert Choice("top-left", QUADRANTS).score_text(text) == 0.0


def test_an_option_with_an_article_is_not_the_one_without():
    options = ["sea", "the sea", "river"]
    assert Choice("the sea", options).score_text("the sea") == Choice("sea", options).score_text("Sea") == 1.0
    assert Choice("sea", options).score_text("the sea") == 0.0
    assert Choice("river", options).score_text("the river") == 1.0


def test_an_answer_may_be_as_long_as_its_options():
    options = ["a" * 900, "b" * 900]
    assert Choice(options[0], options).score_text(options[0]) == 1.0
    assert Choice(options[0], options).score_text(" ".join(options * 2)) == 0.0
    assert Choice("yes", ["yes", "no"]).score_text("yes" + "!" * 1000) == 0.0


def test_letters_and_accents_count_however_they_are_composed():
    assert Choice("cafe\u0301", ["cafe\u0301", "bar"]).score_text("caf\u00e9") == 1.0
    assert Choice("cafe\u0301", ["cafe\u0301", "bar"]).score_text("cafe") == 0.0
    with pytest.raises(ValueError, match="differ"):
        Choice("bar", ["cafe\u0301", "caf\u00e9", "bar"])


@pytest.mark.parametrize("text", ["3 1 4 2", "3, 1, 4, 2", "[3,1,4,2]", "(3 1 4 2)", "3142", "3;1;4;2", " 3\n1\n4\n2 "])
def test_a_permutation_in_any_honest_spelling(text):
    assert Permutation([3, 1, 4, 2]).score_text(text) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "3 1 4",
        "3 1 4 2 3 1 4 2",
        "1 1 1 1",
        "3 3 3 3",
        "0 1 2 3",
        "3 1 4 2.0",
        "３１４２",
        "3142 1",
        "3 -1 4 2",
        "-3 1 4 2",
        "3 or 1 4 2",
        "3 1 4 2 -> 1",
    ],
)
def test_only_a_whole_permutation_earns_partial_credit(text):
    assert Permutation([3, 1, 4, 2], partial=True).score_text(text) == 0.0


def test_partial_credit_per_place_and_its_discount():
    assert Permutation([1, 2, 3, 4], partial=True).score_text("1 2 4 3") == 0.5
    assert Permutation([1, 2, 3, 4], partial=True, discount=0.5).score_text("1 2 4 3") == 0.25
    assert Permutation([1, 2, 3, 4]).score_text("1 2 4 3") == 0.0


@pytest.mark.parametrize(
    "truths",
    [
        [Angle(d, step=30) for d in range(0, 360, 30)],
        [Angle(d, step=30, partial=True) for d in range(0, 360, 30)],
        [Choice(q, QUADRANTS) for q in QUADRANTS],
        [Permutation(p) for p in itertools.permutations([1, 2, 3, 4])],
        [Permutation(p, partial=True, discount=0.3) for p in itertools.permutations([1, 2, 3, 4])],
    ],
    ids=lambda truths: str(truths[0]),
)
def test_chance_is_what_every_constant_guess_earns(truths):
    for guess in truths:
        earned = sum(truth.score_text(guess.text()) for truth in truths) / len(truths)
        assert earned == pytest.approx(truths[0].chance())


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Permutation([1, 2, 3]), "1    " * 99 + "x"),
        (Angle(90, step=90), "90" + " " * 160 + "^" + " " * 160 + r"\circ" + " " * 150 + "x"),
    ],
)
def test_a_completion_made_to_be_hard_to_read_is_read_at_once(answer, text):
    started = time.process_time()
    assert answer.score_text(text) == 0
    assert time.process_time() - started < 0.5


@given(st.text(max_size=80), st.sampled_from(ANSWERS))
def test_any_text_scores_between_zero_and_one(text, answer):
    assert 0.0 <= answer.score_text(text) <= 1.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: Choice("a", ["a"]),
        lambda: Choice("c", ["a", "b"]),
        lambda: Choice("a", ["a", "A"]),
        lambda: Angle(45, step=90),
        lambda: Angle(360, step=90),
        lambda: Angle(0, step=7),
        lambda: Permutation([1, 3]),
        lambda: Permutation([1, 2], discount=2.0),
    ],
)
def test_an_answer_that_could_not_be_given_is_refused(make):
    with pytest.raises(ValueError):
        make()


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"kind":"angle"}', '{"kind":"pickle"}',
                                  '{"kind":"angle","degrees":"x"}', '{"kind":"angle","degrees":"x","step":90}',
                                  '{"kind":"choice","value":"c","options":["a","b"]}',
                                  '{"kind":"choice","value":"a","options":["a","b"],"x":1}'])  # fmt: skip
def test_json_that_is_no_answer_is_refused_in_one_line(text):
    with pytest.raises(UsageError, match="not a recorded answer") as refused:
        load_answer(text)
    assert "\n" not in str(refused.value) and "pydantic" not in str(refused.value)


def test_digits_with_some_blanks_between_them_are_no_permutation():
    assert Permutation([1, 3, 4, 2]).score_text("1 34") == 0
    assert Permutation([1, 3, 4, 2]).score_text("1342") == 1


def test_an_answer_nested_without_end_is_refused_in_words():
    with pytest.raises(UsageError, match="not a recorded answer"):
        load_answer("[" * 100_000)
