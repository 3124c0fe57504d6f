"""A near miss is a wrong answer of a kind that most wrong answers are not of, and changes no score."""

import itertools

import pytest

from ssl4rl_core.answers import Angle, Answer, Choice, Permutation, Subset
from ssl4rl_core.errors import TaskError
from ssl4rl_core.formats import AnswerOnly
from ssl4rl_core.plugins import Registry
from ssl4rl_core.samples import ImageItem, Record
from ssl4rl_core.tasks import Params, Task
from ssl4rl_core.verification import near_miss, verify


@pytest.mark.parametrize(
    ("answer", "text", "near"),
    [
        (Angle(30, 30), "60", "one step off"),
        (Angle(0, 30), "330", "one step off"),
        (Angle(0, 30, partial=True), "60", ""),
        (Angle(30, 30), "30", ""),
        (Angle(0, 90), "90", ""),
        (Permutation([1, 2, 3, 4]), "2 1 3 4", "two places swapped"),
        (Permutation([1, 2, 3, 4], partial=True), "2 3 1 4", ""),
        (Permutation([1, 2, 3]), "2 1 3", ""),
        (Permutation([1, 2, 3, 4]), "1 2 3 4", ""),
        (Subset("AC", options="ABCDEF"), "A", "one option missing"),
        (Subset("AC", options="ABCDEF"), "A, C, F", "one option too many"),
        (Subset("AC", options="ABCDEF"), "A, F", ""),
        (Choice("left", ["left", "right"]), "right", ""),
        (Angle(30, 30), "sixty", ""),
    ],
)
def test_what_is_near(answer, text, near):
    assert answer.near_text(text) == near


def all_answers(answer) -> list[str]:
    if isinstance(answer, Angle):
        return [str(degrees) for degrees in range(0, 360, answer.step)]
    if isinstance(answer, Permutation):
        return [" ".join(map(str, order)) for order in itertools.permutations(answer.order)]
    sizes = range(1, len(answer.options) + 1)
    return [", ".join(some) for size in sizes for some in itertools.combinations(answer.options, size)]


@pytest.mark.parametrize(
    "answer",
    [
        *(Angle(0, step) for step in (180, 120, 90, 60, 45, 30, 10)),
        *(Permutation(range(1, count + 1)) for count in range(2, 7)),
        *(Subset("AC"[:right], options="ABCDEF"[:count]) for right in (1, 2) for count in (3, 4, 5, 6)),
    ],
)
def test_fewer_than_half_of_the_wrong_answers_are_near(answer):
    wrong = [text for text in all_answers(answer) if answer.score_text(text) < 1]
    assert len(wrong) == len(all_answers(answer)) - 1
    assert sum(bool(answer.near_text(text)) for text in wrong) < len(wrong) / 2


class Graded(Choice):
    """A choice that takes "almost" for a half."""

    kind = "graded"

    def score(self, given):
        return 1.0 if given.value == self.value else 0.5 if given.value == "almost" else 0.0


class Broken(Graded):
    kind = "broken"

    def near(self, given):
        raise RuntimeError("no")


class Grade(Task[ImageItem, Params]):
    """How good is it?"""

    name, version = "grade", 1
    levels = {"easy": Params()}
    answer_types = (Graded, Broken)
    prompt = "How good?"


class HalfMarks(Grade):
    """How good is it, when every answer earns a half?"""

    def verify(self, answer, text):
        return 0.5


def near(answer: Answer, completion: str, task: type[Task] = Grade) -> str:
    tasks = Registry()
    tasks.tasks["grade"] = task()
    texts = dict.fromkeys(("question", "answer_text", "item", "group", "source"), "a")
    fields = {"task": "grade", "version": 1, "level": "easy", "parts": "[]", "params": "{}", "chance": 0.3}
    marked = answer.to_json()[:-1] + ',"verifier":"grade"}'
    asked = Record.model_validate({**fields, **texts, "answer": marked, "variant": 0, "split": "test"})
    return near_miss(asked, verify(asked, completion, AnswerOnly(), tasks), tasks)


def test_an_answer_type_of_ones_own_is_near_where_it_earns_a_part():
    answer = Graded(value="yes", options=("yes", "almost", "no"))
    assert near(answer, "<answer>almost</answer>") == "part of the score"
    assert [near(answer, text) for text in ("<answer>yes</answer>", "<answer>no</answer>", "almost")] == ["", "", ""]


def test_a_task_that_scores_by_itself_says_what_is_near():
    assert near(Graded(value="yes", options=("yes", "no")), "<answer>no</answer>", HalfMarks) == "part of the score"


def test_an_answer_type_that_fails_is_named():
    with pytest.raises(TaskError, match="task grade failed to compare 'no'"):
        near(Broken(value="yes", options=("yes", "no")), "<answer>no</answer>")
