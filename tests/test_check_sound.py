"""What is no fault of a task passes, and one fault is said once, by one check."""

import numpy as np
import pytest

from ssl4rl_core import Draft, Field, ImageItem, ImageParams, Task
from ssl4rl_core.testing.checks import CHECKS, Subject, check_task
from ssl4rl_core.testing.memory import MemorySource, synthetic_picture, synthetic_source
from tests.test_sabotage import SIDES, Shade, ShadeParams, failed


class NoReturn(Shade):
    """Which half, if it were returned?"""

    def transform(self, item, params, rng, view):
        super().transform(item, params, rng, view)


class Masks(Shade):
    """Which of two random halves of the pixels is brighter? The picture decides, and nothing is drawn."""

    mask = 0

    def transform(self, item, params, rng, view):
        pixels = np.asarray(item.image.convert("L").resize((16, 16)), dtype=float).ravel()
        chosen = np.random.default_rng(self.mask).permutation(256) < 128
        side = SIDES[int(pixels[chosen].mean() < pixels[~chosen].mean())]
        return Draft(answer=self.answer(side), images=[item.image])


class OptionalParams(ImageParams):
    most: int | None = Field(default=None, description="at most so many halves; none for all")


class WithOptional(Task[ImageItem, OptionalParams]):
    """Which half, of so many at most?"""

    name, version = "shade", 1
    levels = {"easy": OptionalParams(), "hard": OptionalParams(most=3)}
    prompt = Shade.prompt

    def transform(self, item, params, rng, view):
        return Shade().transform(item, ShadeParams(), rng, view)

    def chance(self, params):
        return 1 / 2


def test_a_param_that_may_be_none_is_no_fault():
    assert failed(WithOptional, "params") == {}


@pytest.mark.parametrize("mask", [1, 4, 5, 6, 7, 8])
def test_a_task_whose_answer_the_picture_decides_passes(mask: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Masks, "mask", mask)
    assert failed(Masks, "chance", "hardening") == {}


def test_a_source_of_many_pictures_is_asked_about_many():
    class Mostly(Shade):
        """Which half, the left one in two of three pictures?"""

        def transform(self, item, params, rng, view):
            return self.draft(item, params, SIDES[item.position % 3 == 0])

    # Of 64 pictures, two thirds on one side may be luck.
    subject = Subject(Mostly(), synthetic_source(330, width=40, height=32))
    (outcome,) = check_task(subject, [check for check in CHECKS if check.name == "chance"])
    assert [fault.expected for fault in outcome.faults] == ["at most 0.500 without looking"]
    assert outcome.faults[0].came.startswith("0.66")


def test_a_transform_that_returns_nothing_is_one_fault_and_no_other_check_is_blamed():
    outcomes = {outcome.check: outcome for outcome in check_task(Subject(NoReturn()))}
    assert [name for name, outcome in outcomes.items() if outcome.status == "failed"] == ["levels"]
    (fault,) = outcomes["levels"].faults
    assert (fault.expected, fault.came) == ("a Draft, or Skip", "None")
    assert outcomes["chance"].status == "not run" and "see 'levels'" in outcomes["chance"].note


def test_a_source_that_breaks_is_one_fault_too(monkeypatch: pytest.MonkeyPatch):
    subject = Subject(Shade())
    monkeypatch.setattr(subject.source, "load", lambda *args, **kwargs: {}["gone"])
    outcomes = list(check_task(subject, [check for check in CHECKS if check.name in ("levels", "prompt", "speed")]))
    assert [outcome.status for outcome in outcomes] == ["failed", "not run", "not run"]
    assert outcomes[0].faults[0].came == "KeyError: 'gone'"


def test_a_task_that_fails_on_few_pictures_is_told_so():
    class Rarely(Shade):
        """Which half, of all but one picture?"""

        def transform(self, item, params, rng, view):
            return super().transform(item, params, rng, view) if item.id != "picture-200" else 1 / 0

    (outcome,) = failed(Rarely).values()
    assert outcome.check == "chance" and "ZeroDivisionError" in outcome.faults[0].came


def test_a_kind_of_items_of_another_plugin_is_not_asked_about_odd_ones():
    class Pair(ImageItem):
        kind = "pair"

    class Pairs(MemorySource):
        kinds = ("pair",)

        def load(self, kind, entry, *, max_side=None):
            return Pair(entry.id, entry.group, entry.position, synthetic_picture(entry.position))

    class Paired(Task[Pair, ShadeParams]):
        """Which half, of a pair?"""

        name, version, levels, prompt = "paired", 1, Shade.levels, Shade.prompt
        chance = Shade.chance

        def transform(self, item, params, rng, view):
            return Shade().transform(item, params, rng, view)

    source = Pairs({str(number): synthetic_picture(number) for number in range(20)})
    (outcome,) = check_task(Subject(Paired(), source), [check for check in CHECKS if check.name == "skips"])
    assert outcome.status == "not run" and "no item of kind pair" in outcome.note
