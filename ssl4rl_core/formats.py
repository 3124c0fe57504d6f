"""How a model is asked to answer, and where in its completion the answer is read.

A format is added at training or evaluation time, so one dataset serves all of them. `extract` returns the answer's
text, or None when the format is broken: two answers, an answer outside its tag, a tag inside the thinking.
"""

import re
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


_TAG = re.compile("</?(?:think|answer)>")


def _holds_tag(text: str, start: int = 0) -> bool:
    # Plain searches are many times faster than the pattern, and nearly always enough.
    if text.find("<", start) < 0 or (text.find("think>", start) < 0 and text.find("answer>", start) < 0):
        return False
    return _TAG.search(text, start) is not None


def _answer_block(text: str) -> str | None:
    """What stands between `<answer>` and `</answer>`, which open and close the text, with no tag between them."""
    if not (text.startswith("<answer>") and text.endswith("</answer>")):
        return None
    answer = text[len("<answer>") : -len("</answer>")]
    return None if _holds_tag(answer) else answer


class ThinkAnswer(ResponseFormat):
    """`<think>...</think><answer>...</answer>`: one of each, in this order, nothing else."""

    name = "think_answer"

    def instruction(self, hint: str) -> str:
        return (
            "First reason step by step inside <think> </think>, then give only the final answer, "
            f"{hint}, inside <answer> </answer>."
        )

    def extract(self, completion: str) -> str | None:
        # From the end, where the answer is: a second mark is then found as a tag inside the thinking.
        thinking, mark, answer = completion.strip().rpartition("</think>")
        if not mark or not thinking.startswith("<think>") or _holds_tag(thinking, len("<think>")):
            return None
        return _answer_block(answer.strip())

    def wrap(self, answer: str, thinking: str = "") -> str:
        return f"<think>{thinking}</think>\n<answer>{answer}</answer>"


class AnswerOnly(ResponseFormat):
    """`<answer>...</answer>` and nothing else: for models that do not reason first."""

    name = "answer_only"

    def instruction(self, hint: str) -> str:
        return f"Give only the final answer, {hint}, inside <answer> </answer>."

    def extract(self, completion: str) -> str | None:
        return _answer_block(completion.strip())

    def wrap(self, answer: str, thinking: str = "") -> str:
        return f"<answer>{answer}</answer>"


# Up to the brace that closes the box; the commands of an answer, as in \boxed{90^{\circ}}, have braces of their own.
_IN_BOX = re.compile(r"((?:[^{}]++|\{(?:[^{}]++|\{[^{}]*+\})*+\})*+)\}")


class Boxed(ResponseFormat):
    r"""Free reasoning, then one `\boxed{...}`, as mathematical models are used to; only punctuation may follow it."""

    name = "boxed"

    def instruction(self, hint: str) -> str:
        return f"Reason step by step, then give only the final answer, {hint}, inside \\boxed{{}}."

    def extract(self, completion: str) -> str | None:
        # From the end, where the answer is: a box in the thinking is then found as a second one.
        before, mark, rest = completion.rpartition("\\boxed{")
        if not mark or ("\\" in before and mark in before):  # a search for one character is many times faster
            return None
        boxed = _IN_BOX.match(rest)
        if boxed is None or rest[boxed.end() :].strip(" \t\r\n$.*\\])}"):
            return None
        return boxed[1]

    def wrap(self, answer: str, thinking: str = "") -> str:
        return f"{thinking}\\boxed{{{answer}}}"


@hookimpl
def ssl4rl_formats() -> list[type[ResponseFormat]]:
    return [ThinkAnswer, AnswerOnly, Boxed]
