"""How a model is asked to answer, and where in its completion the answer is read.

A format is added at training or evaluation time, so one dataset serves all of them. `extract` returns the answer's
text, or None when the format is broken: two answers, an answer outside its tag, a tag inside the thinking.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from ssl4rl_core.hookspecs import hookimpl


class ResponseFormat(ABC):
    """A way to answer. Subclasses set `name` and say how to ask for it and how to read it."""

    name: ClassVar[str]

    @abstractmethod
    def instruction(self, hint: str) -> str:
        """What is said after the question; `hint` is the answer's own, "one of 0, 90, 180, 270"."""

    @abstractmethod
    def extract(self, completion: str) -> str | None:
        """The text of the one answer in `completion`, or None when the format is broken. Linear in its length."""

    @abstractmethod
    def wrap(self, answer: str, thinking: str = "") -> str:
        """A completion in this format that gives `answer`."""


def _between(completion: str, opening: str, closing: str) -> str | None:
    """What stands between the two tags, each of which opens or closes the text, and occurs once."""
    if completion.count(opening) != 1 or completion.count(closing) != 1:
        return None
    if not (completion.startswith(opening) and completion.endswith(closing)):
        return None
    return completion[len(opening) : -len(closing)]


class ThinkAnswer(ResponseFormat):
    """`<think>...</think><answer>...</answer>`: one of each, in this order, nothing else."""

    name = "think_answer"

    def instruction(self, hint: str) -> str:
        return (
            "First reason step by step inside <think> </think>, then give only the final answer, "
            f"{hint}, inside <answer> </answer>."
        )

    def extract(self, completion: str) -> str | None:
        thinking, mark, answer = completion.strip().partition("</think>")
        if not mark or not thinking.startswith("<think>") or "<think>" in thinking[1:]:
            return None
        if "<answer>" in thinking or "</answer>" in thinking or "think>" in answer:
            return None
        return _between(answer.strip(), "<answer>", "</answer>")

    def wrap(self, answer: str, thinking: str = "") -> str:
        return f"<think>{thinking}</think>\n<answer>{answer}</answer>"


class AnswerOnly(ResponseFormat):
    """`<answer>...</answer>` and nothing else: for models that do not reason first."""

    name = "answer_only"

    def instruction(self, hint: str) -> str:
        return f"Give only the final answer, {hint}, inside <answer> </answer>."

    def extract(self, completion: str) -> str | None:
        return _between(completion.strip(), "<answer>", "</answer>")

    def wrap(self, answer: str, thinking: str = "") -> str:
        return f"<answer>{answer}</answer>"


class Boxed(ResponseFormat):
    r"""Free reasoning, then one `\boxed{...}`, as mathematical models are used to; only punctuation may follow it."""

    name = "boxed"

    def instruction(self, hint: str) -> str:
        return f"Reason step by step, then give only the final answer, {hint}, inside \\boxed{{}}."

    def extract(self, completion: str) -> str | None:
        _, mark, rest = completion.partition("\\boxed{")
        answer, closing, after = rest.partition("}")
        if not mark or not closing or "{" in answer or after.strip(" \t\r\n$.*\\])}"):
            return None
        return answer

    def wrap(self, answer: str, thinking: str = "") -> str:
        return f"{thinking}\\boxed{{{answer}}}"


@hookimpl
def ssl4rl_formats() -> list[type[ResponseFormat]]:
    return [ThinkAnswer, AnswerOnly, Boxed]
