"""What a completion earns, and what does not earn it."""

import pytest

from ssl4rl_core.answers import Angle, Choice
from ssl4rl_core.errors import TaskError
from ssl4rl_core.formats import AnswerOnly, Boxed, ThinkAnswer
from ssl4rl_core.plugins import Registry
from ssl4rl_core.samples import ImageItem, Record
from ssl4rl_core.tasks import Params, Task
from ssl4rl_core.training.rewards import Judge, reward_functions


def record(answer=None, **changes) -> Record:
    answer = answer or Angle(90, 90)
    fields = {
        "task": "turn",
        "version": 1,
        "level": "easy",
        "question": "How far?",
        "parts": "[]",
        "params": "{}",
        "answer": answer.to_json(),
        "answer_text": answer.text(),
        "chance": 0.25,
        "variant": 0,
        "item": "a",
        "group": "a",
        "split": "train",
        "source": "memory",
    }
    return Record.model_validate({**fields, **changes})


def rewards(texts: list[str], response_format=None, prefill: str = "", records=None, log=None):
    """Both rewards of these texts, through the functions that TRL calls."""
    judge = Judge(response_format or ThinkAnswer(), Registry(), prefill=prefill)
    answer, format = reward_functions(judge, lambda ids: texts[ids[0]])
    given = {"completion_ids": [[n] for n in range(len(texts))], "record": records or [record()] * len(texts)}
    given |= {"prompts": [], "completions": [], "trainer_state": None, "log_metric": log}
    return answer(**given), format(**given)


def test_the_functions_carry_the_names_that_trl_logs():
    assert [reward.__name__ for reward in reward_functions(Judge(Boxed(), Registry()), str)] == ["answer", "format"]


@pytest.mark.parametrize(
    ("text", "earned"),
    [
        ("<think>left</think><answer>90</answer>", (1, 1)),
        ("<think>left</think>\n<answer> 90 degrees </answer>\n", (1, 1)),
        ("<think>left</think><answer>180</answer>", (0, 1)),
        ("<think>left</think><answer>90 or 180</answer>", (0, 1)),
        ("<think>left</think><answer></answer>", (0, 1)),
        ("<answer>90</answer>", (0, 0)),
        ("<think>left</think><answer>90</answer><answer>180</answer>", (0, 0)),
        ("<think><answer>90</answer></think><answer>180</answer>", (0, 0)),
        ("<think>left</think><answer>90</answer> or 180", (0, 0)),
        ("<think>left</think> 90", (0, 0)),
        ("<think>left</think><answer>90", (0, 0)),
        ("<think><think>a</think></think><answer>90</answer>", (0, 0)),
        ("90", (0, 0)),
        ("", (0, 0)),
        ("<answer>" * 20_000, (0, 0)),
        ("<think></think><answer>" + "90 " * 50_000 + "</answer>", (0, 1)),
        ("<think></think><answer>0 90 180 270</answer>", (0, 1)),
    ],
)
def test_only_a_whole_completion_with_one_right_answer_earns(text, earned):
    answer, format = rewards([text])
    assert (answer[0], format[0]) == earned


def test_what_the_template_wrote_already_counts_as_said():
    assert rewards(["left</think><answer>90</answer>"], prefill="<think>\n") == ([1], [1])
    assert rewards(["left</think><answer>90</answer>"]) == ([0], [0])
    assert rewards(["<think>left</think><answer>90</answer>"], prefill="<think>") == ([0], [0])


def test_other_formats():
    assert rewards(["<answer>90</answer>"], AnswerOnly()) == ([1], [1])
    assert rewards(["so \\boxed{90}."], Boxed()) == ([1], [1])


def test_values_are_logged_for_each_config():
    logged: list[tuple[str, float]] = []
    records = [record(), record(level="hard"), record(Choice("left", ["left", "right"]), task="side")]
    texts = ["<think></think><answer>90</answer>", "<think></think><answer>0</answer>", "left"]
    rewards(texts, records=records, log=lambda name, value: logged.append((name, value)))
    assert dict(logged) == {
        "rewards/answer/turn-easy": 1,
        "rewards/answer/turn-hard": 0,
        "rewards/answer/side-easy": 0,
        "rewards/format/turn-easy": 1,
        "rewards/format/turn-hard": 1,
        "rewards/format/side-easy": 0,
    }


def test_a_task_whose_own_scoring_fails_is_named():
    class Turn(Task[ImageItem, Params]):
        name, version = "turn", 1

        def verify(self, answer, text):
            raise ZeroDivisionError

    tasks = Registry()
    tasks.tasks["turn"] = Turn()
    answer = record().answer[:-1] + ',"verifier":"turn"}'
    scored_by_its_task = record().model_copy(update={"answer": answer})
    with pytest.raises(TaskError, match="task turn failed to verify '<think></think>"):
        Judge(ThinkAnswer(), tasks)(scored_by_its_task, "<think></think><answer>90</answer>")
