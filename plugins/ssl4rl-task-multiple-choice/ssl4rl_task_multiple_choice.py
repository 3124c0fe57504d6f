"""Multiple choice: which of the options answers the question about the picture?

A downstream task: it evaluates what other tasks have trained and is never a reward. The prompt is the form that MMBench
(arXiv 2307.06281) is asked in, as VLMEvalKit gives it: hint, question, lettered options, one line that asks to choose.
"""

import string
from typing import TYPE_CHECKING

from ssl4rl_core import Choice, Draft, Field, Params, QuestionItem, ResponseFormat, Skip, Task, hookimpl
from ssl4rl_core.formats import ThinkAnswer

if TYPE_CHECKING:
    import numpy as np

    from ssl4rl_core import View

LETTERS = string.ascii_uppercase


class MultipleChoiceParams(Params):
    turned: bool = Field(default=False, description="turn the options on by a random number of places")


class MultipleChoice(Task[QuestionItem, MultipleChoiceParams]):
    """Which option answers the question about the picture? (an evaluation, never a reward)"""

    name, version = "multiple-choice", 1
    reward = False
    levels = {"published": MultipleChoiceParams(), "turned": MultipleChoiceParams(turned=True)}
    prompt = (
        "<image>\n{hint}Question: {question}\nOptions:\n{options}\n"
        "Please select the correct answer from the options above."
    )

    def transform(
        self, item: QuestionItem, params: MultipleChoiceParams, rng: "np.random.Generator", view: "View"
    ) -> Draft:
        count = len(item.options)
        if not 2 <= count <= len(LETTERS):
            raise Skip("fewer options than two or more than letters")
        first = int(rng.integers(count)) if params.turned else 0
        options = item.options[first:] + item.options[:first]
        shown = {
            "hint": f"Hint: {item.hint}\n" if item.hint else "",
            "question": item.question,
            "options": "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)),
        }
        letter = LETTERS[(item.answer - first) % count]
        return Draft(Choice(letter, LETTERS[:count]), [item.image], shown, chance=1 / count)

    def chance(self, params: MultipleChoiceParams) -> None:
        """One in as many options as a question has."""


class PaperChoice(ThinkAnswer):
    """`think_answer`, asked for as the paper asks (arXiv 2510.16416; "Customize Prompt" in its repository).

    Only the options are named by their letters, where the paper says "one of the options".
    """

    name = "paper_choice"

    def instruction(self, hint: str) -> str:
        return (
            "Answer this multiple-choice question. Think step by step before answering. The last line of your response "
            "should be of the following format: <think>step-by-step reasoning</think> <answer>$LETTER</answer>, where "
            f"LETTER is {hint}."
        )


@hookimpl
def ssl4rl_tasks() -> list[type[Task]]:
    return [MultipleChoice]


@hookimpl
def ssl4rl_formats() -> list[type[ResponseFormat]]:
    return [PaperChoice]
