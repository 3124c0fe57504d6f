"""Checks of answers and records: reading back, hints, JSON alone, verification from the record alone."""

import base64
import binascii
import json
import pickletools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from ssl4rl_core.answers import Answer, Choice
from ssl4rl_core.errors import UsageError
from ssl4rl_core.formats import AnswerOnly, Boxed, ThinkAnswer
from ssl4rl_core.samples import Record, Sample
from ssl4rl_core.testing.checks.elsewhere import score_elsewhere
from ssl4rl_core.testing.checks.outcome import Fault
from ssl4rl_core.testing.checks.subject import Subject
from ssl4rl_core.verification import verify

FEW = 24
DRAWS = 8
FORMATS = (ThinkAnswer(), AnswerOnly(), Boxed())


def answers(subject: Subject) -> Iterator[Fault | str]:
    """The right answer reads back from its JSON and from its own text, and scores 1 in every format."""
    for config in subject.configs:
        for sample in subject.samples(config, FEW):
            where = f"{subject.where('transform')} (level {config.level}, item {sample.record.item!r})"
            if fault := _answer_fault(subject, sample, where):
                yield fault
                break


def _answer_fault(subject: Subject, sample: Sample, where: str) -> Fault | None:
    recorded = sample.record.answer
    answer = subject.answer(sample)
    text = answer.text()
    if text != sample.record.answer_text:
        return Fault(f"the text {sample.record.answer_text!r} again", f"{text!r} from {recorded}", where)
    kind = f"{type(answer).__name__}.parse"
    if answer.parse(text) != answer:
        return Fault(f"the answer's own text {text!r} to be read as the answer", repr(answer.parse(text)), kind)
    for response_format in FORMATS:
        verdict = verify(sample.record, response_format.wrap(text), response_format, subject)
        if verdict.score != 1:
            came = f"{verdict.score} for {response_format.wrap(text)!r:.200}"
            return Fault(
                f"score 1 for the right answer in format {response_format.name}", came, subject.where("verify")
            )
    return None


_LISTED = re.compile(r"(?:one|some|one or more|any) of (?P<options>.+?)(?:, separated by .*)?")
_RANGE = re.compile(r"(?P<low>-?[0-9]+(?:\.[0-9]+)?) (?:to|and) (?P<high>-?[0-9]+(?:\.[0-9]+)?)")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


def hint(subject: Subject) -> Iterator[Fault | str]:
    """What the hint offers can be read, and the right answer is within it."""
    rng = np.random.Generator(np.random.PCG64(0))
    for config in subject.configs:
        for sample in subject.samples(config, FEW):
            answer = subject.answer(sample)
            kind = f"{type(answer).__name__}.hint and parse (level {config.level}, item {sample.record.item!r})"
            if fault := _hint_fault(answer, kind) or _draw_fault(answer, rng, kind):
                yield fault
                break


def _hint_fault(answer: Answer, where: str) -> Fault | None:
    said, text = answer.hint(), answer.text()
    if not said.strip() or "\n" in said:
        return Fault("a hint in one line: it is put into a sentence", repr(said[:120]), where)
    if listed := _LISTED.fullmatch(said):
        # Options with commas of their own cannot be told apart in the list, so each is looked up in it.
        options = list(answer.options) if isinstance(answer, Choice) else listed["options"].split(", ")
        for option in options:
            if option not in said:
                return Fault("a hint that lists every option", f"{option!r} is not in {said!r:.200}", where)
            if answer.parse(option) is None:
                return Fault("each option of the hint to be read as an answer", f"{option!r} is not", where)
        if not isinstance(answer, Choice) and answer.parse(text) not in [answer.parse(option) for option in options]:
            several = said.startswith(("some", "one or more", "any"))
            if not several or not all(part in options for part in text.split(", ")):
                return Fault(f"an answer within its hint, {said!r:.200}", repr(text), where)
    elif bounds := _RANGE.search(said):
        low, high = float(bounds["low"]), float(bounds["high"])
        if outside := [number for number in _NUMBER.findall(text) if not low <= float(number) <= high]:
            return Fault(f"an answer within its hint, {said!r:.200}", f"{outside[0]} in {text!r:.120}", where)
    return None


def _draw_fault(answer: Answer, rng: np.random.Generator, where: str) -> Fault | None:
    for _ in range(DRAWS):
        try:
            drawn = answer.draw(rng)
        except UsageError:
            return None
        if answer.parse(drawn.text()) != drawn:
            return Fault(f"a drawn answer's text {drawn.text()!r} to be read", repr(answer.parse(drawn.text())), where)
        if not 0 <= answer.score(drawn) <= 1:
            return Fault("scores from 0 to 1", f"{answer.score(drawn)} for {drawn.text()!r}", where)
    return None


def records(subject: Subject) -> Iterator[Fault | str]:
    """Records are JSON, whole and nothing else: no pickles, no bytes, no NaN."""
    for config in subject.configs:
        for sample in subject.samples(config, FEW):
            where = f"{subject.where('transform')} (level {config.level}, item {sample.record.item!r})"
            if came := _not_json(sample.record):
                yield Fault("plain JSON, so that anybody can read and nobody needs to run it", came, where)
                break


def _not_json(record: Record) -> str:
    """What is not plain about a record, or ""."""
    try:
        text = record.model_dump_json()
        if Record.model_validate_json(text) != record:
            return "a record that differs when read back"
        nested = {name: json.loads(getattr(record, name), parse_constant=_refused) for name in ("answer", "params")}
    except (ValueError, UnicodeError) as error:
        return f"{type(error).__name__}: {error}"[:200]
    for name, value in [*nested.items(), ("question", record.question)]:
        for string in _strings(value):
            if is_pickle(string):
                return f"a pickle in {name}: {string[:60]!r}"
            if "\0" in string:
                return f"a null byte in {name}: {string[:60]!r}"
    return ""


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def is_pickle(text: str) -> bool:
    """Whether a text is a pickle in base64, hexadecimal, or as it is. Nothing is unpickled to find out."""
    tries: list[bytes] = [text.encode("latin-1", "ignore")]
    for decode in (lambda: base64.b64decode(text, validate=True), lambda: bytes.fromhex(text)):
        try:
            tries.append(decode())
        except (ValueError, binascii.Error):
            continue
    return any(_is_pickle(data) for data in tries)


def _is_pickle(data: bytes) -> bool:
    # Protocol 2 and later start with this mark; older ones are too like plain text to be told from it.
    if not data.startswith(b"\x80"):
        return False
    try:
        return list(pickletools.genops(data))[-1][0].name == "STOP"
    except Exception:  # whatever the disassembler meets, it is then no pickle
        return False


def verification(subject: Subject) -> Iterator[Fault | str]:
    """A completion is scored from the record alone: in a new process, without source, items or samples."""
    samples = [sample for config in subject.configs for sample in subject.samples(config, FEW)[:6]]
    asked = [(sample.record.model_dump_json(), ThinkAnswer().wrap(sample.record.answer_text)) for sample in samples]
    where = f"{subject.where('verify')}, in a process that has the record alone"
    for sample, scored in zip(samples, score_elsewhere(subject, asked), strict=True):
        if scored != 1:
            yield Fault(f"score 1 for the right answer {sample.record.answer_text!r:.80}", str(scored), where)
            return
