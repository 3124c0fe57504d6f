"""Tasks with one fault each: every one is caught, by the check that is meant for it and by no other."""

import base64
import pickle
import random
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from PIL.Image import Transpose

from ssl4rl_core import Answer, Choice, Draft, Field, ImageItem, ImageParams, Skip, Task, TaskConfig
from ssl4rl_core.testing.audit import audit
from ssl4rl_core.testing.checks import CHECKS, Outcome, Subject, check_task
from ssl4rl_core.testing.memory import synthetic_source

SIDES = ("left", "right")


class ShadeParams(ImageParams):
    strength: float = Field(default=0.5, gt=0, lt=1, description="how much darker the half becomes")


class Shade(Task[ImageItem, ShadeParams]):
    """Which half of the picture was darkened?"""

    name, version = "shade", 1
    levels = {"easy": ShadeParams()}
    prompt = "<image>\nOne half of this picture was darkened. Which one?"

    def transform(self, item, params, rng, view):
        return self.draft(item, params, SIDES[int(rng.integers(2))])

    def draft(self, item: ImageItem, params: ShadeParams, side: str) -> Draft:
        pixels = np.array(item.image, dtype=np.float32)
        half = pixels.shape[1] // 2
        pixels[:, slice(None, half) if side == "left" else slice(half, None)] *= 1 - params.strength
        return Draft(answer=self.answer(side), images=[Image.fromarray(pixels.astype(np.uint8))])

    def answer(self, side: str) -> Answer:
        return Choice(side, SIDES)

    def chance(self, params):
        return 1 / 2


class Entropy(Shade):
    """Which half, drawn from the machine's entropy?"""

    def transform(self, item, params, rng, view):
        return self.draft(item, params, SIDES[int(np.random.default_rng().integers(2))])


class HashOrder(Shade):
    """Which half, in the order that strings have in a set?"""

    def transform(self, item, params, rng, view):
        drawn = rng.random()
        first = min(SIDES, key=lambda side: hash(f"{side} {drawn}"))
        return self.draft(item, params, first)


class Remembering(Shade):
    """Which half, the other one than the last time?"""

    last = 0

    def transform(self, item, params, rng, view):
        self.last = 1 - self.last
        return self.draft(item, params, SIDES[self.last ^ int(rng.integers(2))])


class GlobalState(Shade):
    """Which half, drawn from the global generator?"""

    def transform(self, item, params, rng, view):
        return self.draft(item, params, random.choice(SIDES))


class Clock(Shade):
    """Which half, by the time of day?"""

    def transform(self, item, params, rng, view):
        return self.draft(item, params, SIDES[(int(time.time()) + int(rng.integers(2))) % 2])


class Scribbler(Shade):
    """Which half, in the picture that all tasks share?"""

    def transform(self, item, params, rng, view):
        item.image.paste((int(rng.integers(256)), 0, 0), (0, 0, 1, 1))
        return super().transform(item, params, rng, view)


class LowChance(Shade):
    """Which half, as if there were four?"""

    def chance(self, params):
        return 1 / 4


class HighChance(Shade):
    """Which half, as if it were hardly a question?"""

    def chance(self, params):
        return 0.9


class Lenient(Shade):
    """Which half, named anywhere?"""

    def verify(self, answer, text):
        return float(answer.text() in text.lower())


class Strict(Shade):
    """Which half, spelled in one way alone?"""

    def verify(self, answer, text):
        return float(answer.text() == text)


class Abbreviated(Answer):
    """An answer whose hint offers what it does not read."""

    kind = "abbreviated"
    side: str

    def text(self):
        return self.side

    def parse(self, text):
        return self.model_copy(update={"side": text}) if text in SIDES else None

    def score(self, given):
        return float(given.side == self.side)

    def hint(self):
        return "one of l, r"

    def chance(self):
        return 1 / 2


class WrongHint(Shade):
    """Which half, asked for by a letter and read as a word?"""

    answer_types = (Abbreviated,)

    def answer(self, side):
        return Abbreviated(side=side)


class Pickled(Abbreviated):
    """An answer that carries a pickle."""

    kind = "pickled"
    blob: str = ""

    def hint(self):
        return "left or right"


class PickledRecord(Shade):
    """Which half, pickled?"""

    answer_types = (Pickled,)

    def answer(self, side):
        return Pickled(side=side, blob=base64.b64encode(pickle.dumps({"side": side})).decode())


class ListParams(ImageParams):
    strength: float = Field(default=0.5, gt=0, lt=1, description="how much darker the half becomes")
    sides: list[str] = Field(default=["left", "right"], description="what may be darkened")


class MutableParams(Task[ImageItem, ListParams]):
    """Which half, of a list that anybody may change?"""

    name, version = "shade", 1
    levels = {"easy": ListParams()}
    prompt = Shade.prompt

    def transform(self, item, params, rng, view):
        return Shade().draft(item, ShadeParams(), params.sides[int(rng.integers(2))])

    def chance(self, params):
        return 1 / 2


class NoSuchOption(Shade):
    """Which half, when neither is offered?"""

    def answer(self, side):
        return Choice(side, ("top", "bottom"))


class ForcedOption(Shade):
    """Which half, when neither is offered and nobody looked?"""

    def answer(self, side):
        return Choice.model_construct(value=side, options=("top", "bottom"))


class MissingImage(Shade):
    """Which half, of a picture that is not shown?"""

    prompt = "One half of this picture was darkened. Which one?"


class ToldHow(Shade):
    """Which half, and how to say so?"""

    prompt = Shade.prompt + " Put it inside <answer></answer>."


class Raising(Shade):
    """Which half, where there is one?"""

    def transform(self, item, params, rng, view):
        raise ZeroDivisionError("no halves")


class Chatty(Shade):
    """Which half, unless the picture is small?"""

    def transform(self, item, params, rng, view):
        if min(item.image.size) < 60:
            raise Skip(f"picture of {item.image.width} x {item.image.height} pixels")
        return super().transform(item, params, rng, view)


class Peeking(Shade):
    """Which half, after a look at another picture?"""

    def transform(self, item, params, rng, view):
        view.another(item, rng)
        return super().transform(item, params, rng, view)


class FromMemory(Shade):
    """Which half, scored by what is left in memory?"""

    asked: set[str] = set()

    def draft(self, item, params, side):
        self.asked.add(side)
        return super().draft(item, params, side)

    def verify(self, answer, text):
        return float(answer.text() in self.asked) * answer.score_text(text)


class Generous(Shade):
    """Which half, and right where the answer is long?"""

    def answer(self, side):
        return Choice(side, ("left", "right", "top", "bottom"))

    def transform(self, item, params, rng, view):
        return self.draft(item, params, ("left", "right", "top", "bottom")[int(rng.integers(4))])

    def verify(self, answer, text):
        return 1.0 if len(text) > 20_000 else answer.score_text(text)

    def chance(self, params):
        return 1 / 4


class Hour(Shade):
    """Which half, at this hour?"""

    prompt = Shade.prompt + " It is {hour} o'clock."

    def transform(self, item, params, rng, view):
        return replace(super().transform(item, params, rng, view), fields={"hour": time.strftime("%H")})


class Year(Shade):
    """Which half, in this year?"""

    prompt = Shade.prompt + " It is {year}."

    def transform(self, item, params, rng, view):
        return replace(super().transform(item, params, rng, view), fields={"year": time.localtime().tm_year})


class Slow(Shade):
    """Which half, when there is time?"""

    def transform(self, item, params, rng, view):
        time.sleep(0.3)
        return super().transform(item, params, rng, view)


class Undocumented(Shade):
    pass


class Turned(Shade):
    """How was it turned, when its shape tells?"""

    prompt = "<image>\nWas this picture turned by a quarter?"

    def transform(self, item, params, rng, view):
        turned = bool(rng.integers(2))
        picture = item.image.transpose(Transpose.ROTATE_90) if turned else item.image
        return Draft(answer=Choice("yes" if turned else "no", ("yes", "no")), images=[picture])


def failed(task: type[Task], *checks: str) -> dict[str, Outcome]:
    chosen = [check for check in CHECKS if not checks or check.name in checks]
    return {outcome.check: outcome for outcome in check_task(Subject(task()), chosen) if outcome.status == "failed"}


def test_the_task_without_a_fault_passes():
    assert failed(Shade) == {}


@pytest.mark.parametrize(
    ("task", "check", "came"),
    [
        (Entropy, "determinism", "the other time"),
        (HashOrder, "determinism", "the other time"),
        (Remembering, "determinism", "the other time"),
        (GlobalState, "purity", "global state of random changed"),
        (Clock, "purity", "the other time"),
        (LowChance, "chance", "over 300 samples"),
        (HighChance, "chance", "the best guesser"),
        (Lenient, "hardening", "1.000 over"),
        (Strict, "hardening", "0.0"),
        (WrongHint, "hint", "'l' is not"),
        (PickledRecord, "records", "a pickle in answer"),
        (MutableParams, "params", "unhashable type: 'list'"),
        (NoSuchOption, "answers", "is not one of the options"),
        (ForcedOption, "answers", "not a recorded answer"),
        (MissingImage, "prompt", "0 marks in"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_sabotaged_task_is_caught_by_the_check_meant_for_it_alone(task: type[Task], check: str, came: str):
    found = failed(task)
    assert list(found) == [check]
    fault = found[check].faults[0]
    assert came in fault.came
    assert fault.expected and fault.where


@pytest.mark.parametrize(
    ("task", "check", "came"),
    [
        (Scribbler, "purity", "its pixels changed"),
        (Hour, "purity", "the other time"),
        (Year, "purity", "the other time"),
        (Generous, "hardening", "1.000 over"),
        (ToldHow, "prompt", "<answer> in the prompt"),
        (Raising, "levels", "ZeroDivisionError: no halves"),
        (Chatty, "skips", "counted apart"),
        (Peeking, "view", "view was used"),
        (FromMemory, "verification", "0.0"),
        (Slow, "speed", "ms at level easy"),
        (Undocumented, "docs", "none"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_other_faults_are_caught_too(task: type[Task], check: str, came: str):
    (outcome,) = failed(task, check).values()
    assert came in outcome.faults[0].came
    assert task.__name__ in outcome.faults[0].where


def test_a_size_that_leaks_is_caught_by_the_audit():
    pytest.importorskip("sklearn", reason="the audit's probes need scikit-learn")
    tasks = [TaskConfig(task, "easy", task.levels["easy"]) for task in (Turned(), Shade())]
    source = synthetic_source(24)
    assert failed(Turned) == {}  # a pure, well-behaved task: that it leaks only a probe can tell
    (leaking,) = (each for each in audit(tasks[:1], source, samples=200) if each.verdict == "LEAKS")
    assert leaking.probe == "blind" and leaking.result.score > 0.9
    assert [each for each in audit(tasks[1:], source, samples=200) if each.verdict == "LEAKS"] == []
