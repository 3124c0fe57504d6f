"""A stranger's task through the whole contract: config, rendering, record, verification."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ssl4rl_core import (
    Angle,
    Choice,
    Draft,
    Field,
    ImageItem,
    ImageParams,
    Record,
    Skip,
    Task,
    TaskError,
    UsageError,
    parse_config,
    parse_configs,
    registry,
    render,
    verify,
)
from ssl4rl_core.plugins import Plugin, Registry
from ssl4rl_core.rendering import fill


class ShadeParams(ImageParams):
    strength: float = Field(default=0.5, gt=0, lt=1, description="how much darker the half is")
    upright: bool = Field(default=True, description="whether the halves are left and right")
    steps: int = Field(default=1, ge=1, description="any number")


class Shade(Task[ImageItem, ShadeParams]):
    """Which half was darkened?"""

    name, version = "shade", 1
    levels = {"easy": ShadeParams(), "hard": ShadeParams(strength=0.1), "paper": ShadeParams(strength=0.3)}
    prompt = "<image>\nWhich half of {whose} picture was darkened by {strength}?"

    def transform(self, item, params, rng, view):
        side = str(rng.choice(["left", "right"]))
        pixels = np.asarray(item.image, dtype=np.float32).copy()
        half = pixels.shape[1] // 2
        region = pixels[:, :half] if side == "left" else pixels[:, half:]
        region *= 1 - params.strength
        picture = Image.fromarray(pixels.astype(np.uint8))
        return Draft(images=[picture], answer=Choice(side, ["left", "right"]), fields={"whose": "<image> {this}"})

    def chance(self, params):
        return 1 / 2


class Found(Registry):
    """A registry that holds what a test gives it."""

    def __init__(self, *tasks: type[Task]) -> None:
        super().__init__()
        for task in tasks:
            self.tasks[task.name] = task()


class TrainView:
    split = "train"

    class source:
        name = "memory:test"


TASKS = Found(Shade)
ITEM = ImageItem(id="a/b.jpg", group="g", position=3, image=Image.new("RGB", (40, 30), (200, 100, 50)))
THINK = registry().format("think_answer")


def shade(spec: str = "shade:easy", item: ImageItem = ITEM, **options):
    return render(parse_config(spec, TASKS), item, TrainView(), **options)  # pyright: ignore[reportArgumentType]


def test_a_task_without_a_level_means_easy_medium_and_hard():
    assert [config.name for config in parse_configs(["shade"], TASKS)] == ["shade-easy", "shade-hard"]
    assert [config.name for config in parse_configs(["shade:paper"], TASKS)] == ["shade-paper"]


def test_changed_params_are_converted_and_named_in_the_config():
    config = parse_config("shade:hard?upright=false&steps=3&strength=0.1", TASKS)
    assert config.params == ShadeParams(strength=0.1, upright=False, steps=3)
    assert config.name == "shade-hard-steps-3-upright-false"


@pytest.mark.parametrize(
    ("spec", "mend"),
    [
        ("shad", "did you mean 'shade'"),
        ("other", "pip install ssl4rl-task-other"),
        ("shade:easier", "easy, hard, paper"),
        ("shade?strenght=0.2", "did you mean 'strength'"),
        ("shade?strength=2", "strength: Input should be less than 1"),
        ("shade?strength=dark", "strength: Input should be a valid number"),
        ("shade?strength", "NAME"),
        ("shade?steps=2&strength=0.2&steps=3", "gives steps twice"),
    ],
)
def test_a_wrong_spec_is_answered_with_its_mend(spec, mend):
    with pytest.raises(UsageError, match=mend):
        parse_configs([spec], TASKS)


def test_a_source_s_option_given_twice_is_refused():
    with pytest.raises(UsageError, match="gives limit twice"):
        registry().source("folder:photos?limit=1&limit=2")


def test_a_param_that_json_holds_as_a_list_is_named_where_it_was_changed_alone():
    class Sized(ImageParams):
        sizes: tuple[int, ...] = (1, 2)
        n: int = 1

    class Tup(Task[ImageItem, Sized]):
        name, version, levels = "tup", 1, {"easy": Sized()}

    assert [parse_config(f"tup:easy?n={n}", Found(Tup)).name for n in (1, 3)] == ["tup-easy", "tup-easy-n-3"]


def test_naming_a_config_twice_is_refused():
    with pytest.raises(UsageError, match="shade-easy is named twice"):
        parse_configs(["shade:easy", "shade:easy?strength=0.5"], TASKS)


def test_a_sample_is_a_function_of_what_names_it():
    sample, again = shade(seed=1, variant=2), shade(seed=1, variant=2)
    assert sample.record == again.record and sample.images[0].tobytes() == again.images[0].tobytes()
    answers = {shade(seed=seed, variant=variant).record.answer_text for seed in (1, 2) for variant in range(8)}
    assert answers == {"left", "right"}


def test_the_record_is_flat_json_and_reads_back():
    record = shade().record
    flat = json.loads(record.model_dump_json())
    assert all(isinstance(value, (str, int, float, bool)) for value in flat.values())
    assert Record.model_validate_json(record.model_dump_json()) == record
    assert record.config == "shade-easy" and "config" not in flat
    assert record.chance == 0.5 and record.level == "easy" and record.source == "memory:test"


def test_text_from_the_data_is_only_ever_text():
    parts = shade().record.content()
    assert parts == [
        {"type": "image"},
        {"type": "text", "text": "\nWhich half of <image> {this} picture was darkened by 0.5?"},
    ]


def test_the_template_knows_escaped_braces_and_refuses_unknown_fields():
    assert fill("{{x}} {a}", {"a": 1}, 0) == [{"type": "text", "text": "{x} 1"}]
    with pytest.raises(ValueError, match=r"field \{b\}"):
        fill("{b}", {"a": 1}, 0)
    with pytest.raises(ValueError, match="1 <image> marks for 2 images"):
        fill("<image>", {}, 2)


def test_params_that_json_does_not_read_back_fill_a_prompt_too():
    class Named(ImageParams):
        steps: int = Field(default=4, alias="n")

    class Count(Task[ImageItem, Named]):
        """How many?"""

        name, version, levels, prompt = "toy-count", 1, {"easy": Named()}, "<image>\nBy {steps}?"

        def transform(self, item, params, rng, view):
            return Draft(Choice("a", ["a", "b"]), [item.image])

        def chance(self, params):
            return 1 / 2

    sample = render(parse_config("toy-count:easy", Found(Count)), ITEM, TrainView())  # pyright: ignore[reportArgumentType]
    assert sample.record.question == "<image>\nBy 4?"


def test_core_skips_small_pictures_before_the_task_sees_them():
    small = ImageItem(id="s", group="s", position=0, image=Image.new("RGB", (40, 27)))
    with pytest.raises(Skip, match="min_side"):
        shade(item=small)
    assert shade("shade:easy?min_side=27", item=small).images


def test_a_bug_in_a_task_names_task_and_item():
    class Broken(Shade):
        name = "broken"

        def transform(self, item, params, rng, view):
            raise ZeroDivisionError("division by zero")

    with pytest.raises(TaskError, match=r"broken-easy failed on item 'a/b.jpg': ZeroDivisionError: division"):
        render(parse_config("broken", Found(Broken)), ITEM, TrainView())  # pyright: ignore[reportArgumentType]


def test_an_answer_that_its_type_refuses_is_said_in_our_words():
    class Broken(Shade):
        name = "broken"

        def transform(self, item, params, rng, view):
            return Draft(answer=Choice("up", ["left", "right"]))

    with pytest.raises(TaskError) as refused:
        render(parse_config("broken", Found(Broken)), ITEM, TrainView())  # pyright: ignore[reportArgumentType]
    assert "ValidationError: Choice: 'up' is not one of the options ('left', 'right')" in str(refused.value)
    assert "\n" not in str(refused.value) and "pydantic" not in str(refused.value)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, r"transform must return a Draft or raise Skip, and returned None"),
        (Draft(answer="left"), r"'str' object has no attribute"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_what_is_no_draft_names_task_and_item(returned, said):
    class Broken(Shade):
        name, prompt = "broken", "Which half?"

        def transform(self, item, params, rng, view):
            return returned

    with pytest.raises(TaskError, match=rf"broken-easy failed on item 'a/b.jpg': \w+: {said}"):
        render(parse_config("broken", Found(Broken)), ITEM, TrainView())  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("skips", [False, True])
def test_a_task_that_changes_its_items_picture_is_told_and_the_picture_stays(skips: bool):
    class Careless(Shade):
        name, prompt = "careless", "<image>\nWhich half?"

        def transform(self, item, params, rng, view):
            item.image.paste((0, 0, 0), (0, 0, 9, 9))
            if skips:
                raise Skip("a half that is dark already")
            return Draft(images=[item.image], answer=Choice("left", ["left", "right"]))

    item = replace(ITEM, image=ITEM.image.copy())
    for _ in range(2):
        with pytest.raises(TaskError, match=r"careless-easy failed on item 'a/b.jpg': .* in place"):
            render(parse_config("careless", Found(Careless)), item, TrainView())  # pyright: ignore[reportArgumentType]
    assert item.image.tobytes() == ITEM.image.tobytes()


def test_a_completion_is_scored_from_the_record_alone():
    record = shade().record
    right, wrong = record.answer_text, {"left": "right", "right": "left"}[record.answer_text]
    nobody = Found()
    assert verify(record, THINK.wrap(right, "dark there"), THINK, nobody) == (1.0, True, right)
    assert verify(record, THINK.wrap(wrong), THINK, nobody) == (0.0, True, wrong)
    assert verify(record, right, THINK, nobody) == (0.0, False, None)


def test_a_template_that_opened_the_thinking_is_taken_into_account():
    record = shade().record
    completion = THINK.wrap(record.answer_text, "hm").removeprefix("<think>")
    assert verify(record, completion, THINK, TASKS).format_ok is False
    assert verify(record, completion, THINK, TASKS, prefill="<think>").score == 1.0


class Own(Shade):
    """Scores by code of its own: the first letter is enough."""

    name = "own"

    def verify(self, answer, text):
        return float(answer.text()[0] == text[:1])


def test_a_task_that_scores_by_its_own_code_needs_that_code():
    record = render(parse_config("own", Found(Own)), ITEM, TrainView()).record  # pyright: ignore[reportArgumentType]
    completion = THINK.wrap(record.answer_text[0])
    assert verify(record, completion, THINK, Found(Own)).score == 1.0
    with pytest.raises(UsageError, match=r"not installed: pip install ssl4rl-task-own"):
        verify(record, completion, THINK, Found())

    class Newer(Own):
        version = 2

    with pytest.raises(UsageError, match="version 2 is installed"):
        verify(record, completion, THINK, Found(Newer))


class Turn(Angle):
    """An answer type of a task's own: quarter turns."""

    kind = "turn"

    def text(self):
        return str(self.degrees // 90)

    def parse(self, text):
        return self.model_copy(update={"degrees": 90 * int(text)}) if text in "0123" else None


class Turning(Shade):
    name, answer_types = "turning", (Turn,)

    def transform(self, item, params, rng, view):
        return Draft(images=[item.image], answer=Turn(degrees=180, step=90), fields={"whose": ""})


def test_an_answer_type_of_its_own_is_scored_through_its_task():
    record = render(parse_config("turning", Found(Turning)), ITEM, TrainView()).record  # pyright: ignore[reportArgumentType]
    assert verify(record, THINK.wrap("2"), THINK, Found(Turning)).score == 1.0
    with pytest.raises(UsageError, match="pip install ssl4rl-task-turning"):
        verify(record, THINK.wrap("2"), THINK, Found())
    broken = Found()
    broken.plugins.append(Plugin("turning", "ssl4rl-task-turning", "1.0", error="ImportError: no module named cv2"))
    with pytest.raises(UsageError, match="ssl4rl-task-turning failed to load: ImportError: no module") as failed:
        verify(record, THINK.wrap("2"), THINK, broken)
    assert "pip install" not in str(failed.value)


def test_what_keeps_a_class_from_being_a_task_is_named():
    class Bad(Task[ImageItem, ShadeParams]):
        name, version, levels = "Bad Name", 0, {}

    assert "; ".join(Bad.problems()) == (
        "name must be lower-case words joined by hyphens; version must be an integer of 1 or more; "
        "levels must be a non-empty dict of names to ShadeParams; prompt is missing; "
        "transform is not defined; chance is not defined"
    )


def test_a_level_that_holds_no_params_of_the_task_is_named():
    class Plain(Shade):
        levels = {"easy": ShadeParams(), "hard": {"strength": 0.1}, "Most_Hard": ShadeParams()}

    assert Plain.problems() == [
        "level 'hard' must be ShadeParams(...), got {'strength': 0.1}",
        "level 'Most_Hard': its name must be lower-case words joined by hyphens",
    ]


def test_levels_that_are_no_dict_are_told_so():
    class Listed(Shade):
        levels: Any = [ShadeParams()]

    assert Listed.problems() == ["levels must be a non-empty dict of names to ShadeParams"]
