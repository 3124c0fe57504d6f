"""The honest spellings of a right answer: all of them must score 1.

A task with an answer type of its own adds the type's spellings by `@honest_spellings.register`.
"""

import functools
import re

from ssl4rl_core.answers import Angle, Answer, Choice, Permutation, Subset
from ssl4rl_core.spelling import plain


@functools.singledispatch
def honest_spellings(answer: Answer) -> list[str]:
    """Ways in which a completion may give `answer`, the canonical one first."""
    return [answer.text(), f" {answer.text()}\n"]


def _set_off(text: str) -> list[str]:
    """The text as Markdown, LaTeX and plain writing set it off."""
    return [
        *(text, f" {text}\n", f"{text}.", f'"{text}"', f"'{text}'", f"\u201c{text}\u201d", f"({text})", f"[{text}]"),
        *(f"**{text}**", f"*{text}*", f"__{text}__", f"`{text}`", f"```\n{text}\n```", f"```text\n{text}\n```"),
        *(f"${text}$", f"\\({text}\\)", f"\\[{text}\\]", f"\\boxed{{{text}}}", f"$\\boxed{{\\text{{{text}}}}}$"),
    ]


@honest_spellings.register
def _(answer: Choice) -> list[str]:
    value = answer.value
    variants = [value.upper(), value.lower(), value.replace("-", " "), value.replace("-", "_"), f"The {value}"]
    variants += [value.replace("-", "\u2011")]
    # Case is no mark where letters have no other case, and an article none where another option has it.
    same, other = plain(value), {plain(option) for option in answer.options} - {plain(value)}
    return [*_set_off(value), *(v for v in variants if plain(v).removeprefix("the ") == same and plain(v) not in other)]


@honest_spellings.register
def _(answer: Angle) -> list[str]:
    degrees, back = answer.degrees, 360 - answer.degrees
    spelled = [f"{degrees}.0", f"+{degrees}", f"{degrees:03}", f"-{back}", f"\u2212{back}"]
    for unit in ("°", " degrees", " deg.", r"^\circ", r"^{\circ}", r"\degree", r"\text{ degrees}"):
        spelled += [f"{degrees}{unit}", f"${degrees}{unit}$", f"{degrees}{unit} counter-clockwise"]
        spelled += [f"{degrees}{unit} (CCW)", f"{back}{unit} clockwise", f"{back}{unit}, clockwise"]
    return [*_set_off(str(degrees)), *spelled]


@honest_spellings.register
def _(answer: Permutation) -> list[str]:
    numbers = [str(number) for number in answer.order]
    joined = [between.join(numbers) for between in (", ", ",", "; ", "\n", "-", " -> ", "→", " | ", " and ")]
    joined.append(", ".join(numbers[:-1]) + f", and {numbers[-1]}")
    if len(numbers) <= 9:
        joined.append("".join(numbers))
    return [*_set_off(answer.text()), *_set_off(joined[0]), *joined]


@honest_spellings.register
def _(answer: Subset) -> list[str]:
    chosen = answer.chosen
    joined = [between.join(chosen[::step]) for between in (", ", ",", "; ", "\n") for step in (1, -1)]
    joined += [answer.text().lower(), "- " + "\n- ".join(chosen), ", ".join(f"**{option}**" for option in chosen)]
    # As Subset reads it: a word that stands in an option, "R&B", joins none.
    for word, pattern in (("and", r"\band\b"), ("&", "&")):
        if not any(re.search(pattern, option.casefold()) for option in answer.options):
            joined.append(f" {word} ".join(chosen))
    return [*_set_off(answer.text()), *joined, str(list(chosen))]
