"""What a verification costs: `python benchmarks/verification.py [--rounds N]`.

For every answer type, response format and kind of completion: the median over rounds, in microseconds, of one
verification of a completion of 8 KB or less, whose record has been seen (as in a group of generations), and of a new
record; then for completions of 10 KB to 1 MB the least time over rounds, in nanoseconds a character, which must not
grow. Exit code 1 where the median over all cases up to 8 KB is above 20 microseconds, or where a character costs more
than twice as much in the longest completions as in the shortest.
"""

import statistics
import time
from collections.abc import Callable
from typing import Annotated

import typer

from ssl4rl_core import Angle, Answer, Choice, Permutation, Record, ResponseFormat, Subset, registry, verify

LIMIT = 20.0
"""Microseconds."""
SHORT = (0, 1_000, 8_000)
LONG = (10_000, 100_000, 1_000_000)
GROWTH = 2.0
"""A character of the longest completion may cost this many times what one of the shortest does: caches are smaller."""
ANSWERS: dict[str, Answer] = {
    "angle": Angle(90, step=90),
    "quadrant": Choice("top-left", ["top-left", "top-right", "bottom-left", "bottom-right"]),
    "letter of 12": Choice("A", options="ABCDEFGHIJKL"),
    "order of 4": Permutation([3, 1, 4, 2], partial=True),
    "order of 16": Permutation(range(16, 0, -1), partial=True),
    "subset of 6": Subset("AC", options="ABCDEF"),
}
KINDS: dict[str, Callable[[ResponseFormat, str, int], str]] = {
    "thinking": lambda asked, answer, size: asked.wrap(answer, "It seems to lean. " * (size // 18)),
    "formulas": lambda asked, answer, size: asked.wrap(answer, "so a < b and \\frac{1}{2} > c " * (size // 28)),
    "no format": lambda asked, answer, size: "It seems to lean. " * (size // 18) + answer,
    "tags": lambda asked, answer, size: "<answer>" * (size // 8) + answer + "</answer>" * (size // 9),
    "long answer": lambda asked, answer, size: asked.wrap(f"{answer}, " * (size // (len(answer) + 2) + 1)),
}


def record_of(answer: Answer) -> Record:
    """A record with this answer; no other field matters to its verification but task and version."""
    names = dict.fromkeys(("level", "question", "item", "group", "source"), "x")
    texts = {"parts": "[]", "params": "{}", "answer": answer.to_json(), "answer_text": answer.text()}
    return Record(task="x", version=1, chance=answer.chance(), variant=0, split="train", **names, **texts)


def timings(record: Record, completion: str, asked: ResponseFormat, rounds: int, *, new: bool = False) -> list[float]:
    """Microseconds of single verifications; with `new`, of a record that has not been seen before each time."""
    # Blanks after the JSON make it another text, of the same meaning.
    answers = [record.answer + " " * (round + 1 if new else 0) for round in range(rounds)]
    records = [record.model_copy(update={"answer": answer}) for answer in answers]
    times = []
    for each in records:
        started = time.perf_counter_ns()
        verify(each, completion, asked, registry())
        times.append((time.perf_counter_ns() - started) / 1000)
    return times


def short_completions(rounds: int) -> float:
    """Print a line for each answer type; the median over all cases."""
    everything = []
    for name, answer in ANSWERS.items():
        record, seen, new = record_of(answer), [], []
        for asked in registry().formats.values():
            # Of the shortest completion: reading the record costs the same whatever the completion.
            new += timings(record, asked.wrap(answer.text()), asked, rounds, new=True)
            for make in KINDS.values():
                for size in SHORT:
                    completion = make(asked, answer.text(), size)
                    seen.append(statistics.median(timings(record, completion, asked, rounds)))
        everything += seen
        print(
            f"{name:14} up to 8 KB: median {statistics.median(seen):5.1f} us, slowest case {max(seen):5.1f} us;"
            f" of a new record {statistics.median(new):5.1f} us"
        )
    return statistics.median(everything)


def long_completions(rounds: int) -> float:
    """Print a line for each kind of completion; the largest growth of the time a character."""
    answer = ANSWERS["quadrant"]
    record, growth = record_of(answer), 0.0
    for name, make in KINDS.items():
        for asked in registry().formats.values():
            completions = [make(asked, answer.text(), size) for size in LONG]
            if len(completions[-1]) < LONG[-1] / 2:
                continue  # this format has no place for thinking
            cost = [1000 * min(timings(record, text, asked, rounds)) / len(text) for text in completions]
            # Where a completion is refused at a glance, the time a character falls.
            growth = max(growth, cost[-1] / max(cost[0], 0.1))
            figures = ", ".join(f"{each:.3f}" for each in cost)
            print(f"{name:12} {asked.name:13} ns a character at 10 KB, 100 KB, 1 MB: {figures}")
    return growth


def main(rounds: Annotated[int, typer.Option(min=5, help="timings of each case")] = 101) -> None:
    """Time verifications."""
    median, growth = short_completions(rounds), long_completions(max(5, rounds // 5))
    print(f"median over all cases up to 8 KB: {median:.1f} us (limit {LIMIT:.0f})")
    print(f"a character at 1 MB against 10 KB: at most {growth:.2f} times (limit {GROWTH:.0f})")
    raise typer.Exit(0 if median <= LIMIT and growth <= GROWTH else 1)


if __name__ == "__main__":
    typer.run(main)
