"""A response format of one's own: free reasoning, then a last line "Answer: ...".

ssl4rl --plugin examples/extensions/last_line_format.py formats
ssl4rl --plugin examples/extensions/last_line_format.py train recipe.yaml --set format=last_line
"""

from ssl4rl_core import ResponseFormat, hookimpl

_MARK = "Answer:"


class LastLine(ResponseFormat):
    """Reasoning, then one last line that begins with "Answer:"."""

    name = "last_line"

    def instruction(self, hint: str) -> str:
        return f"Think step by step, then end with one line: '{_MARK}' and only the final answer, {hint}."

    def extract(self, completion: str) -> str | None:
        before, mark, answer = completion.strip().rpartition(_MARK)
        at_line_start = not before or before.endswith("\n")
        # A model that hedges writes the mark twice, or goes on after it.
        if not mark or not at_line_start or _MARK in before or "\n" in answer:
            return None
        return answer.strip()

    def wrap(self, answer: str, thinking: str = "") -> str:
        return f"{thinking}\n{_MARK} {answer}".lstrip()


@hookimpl
def ssl4rl_formats() -> list[type[ResponseFormat]]:
    return [LastLine]
