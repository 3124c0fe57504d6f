"""A recipe's own words for a task: the same pictures and answers, and every mistake is a line before any training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_builders import build
from ssl4rl_core import Choice, Draft, ImageItem, ImageParams, Task, TaskConfig, parse_config, register, registry
from ssl4rl_core.cli import run as cli
from ssl4rl_core.errors import UsageError
from ssl4rl_core.samples import Sample
from ssl4rl_core.testing.memory import synthetic_picture
from ssl4rl_core.training.data import open_data
from ssl4rl_core.training.recipe import DataSettings, TaskSettings, load_recipe, parse_recipe


class Caption(Task[ImageItem, ImageParams]):
    """What is the picture called?"""

    name, version = "toy-caption", 1
    levels = {"easy": ImageParams(min_side=8)}
    prompt = "A picture is {width} pixels wide and called {title}. Is that so?"

    def transform(self, item, params, rng, view):
        answer = Choice(str(rng.choice(["yes", "no"])), ["yes", "no"])
        # What a source says is text, whatever it looks like.
        return Draft(answer=answer, fields={"width": item.image.width, "title": "<image> {width}"})

    def chance(self, params):
        return 1 / 2


@pytest.fixture(scope="module", autouse=True)
def caption():
    if Caption.name not in registry().tasks:
        register(Caption)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(4):
        synthetic_picture(number, 64, 64).save(folder / f"{number}.png")
    return folder


def samples(pictures: Path, task: str, prompt: str | None, **data: Any) -> list[Sample]:
    where = DataSettings(source=f"folder:{pictures}", test_fraction=0.0, **data)
    opened, weights = open_data(where, [TaskSettings(task=task, prompt=prompt)])
    return [opened.sample(config, "train", n) for config in weights for n in range(opened.size(config, "train"))]


@pytest.mark.parametrize(
    ("task", "prompt", "question"),
    [
        ("rotation:paper", "From <image> to <image>: how far, by {step}?", "From <image> to <image>: how far, by 90?"),
        ("position:easy", "<image>{{{grid}}}<image>", "<image>{2}<image>"),
        ("toy-caption", "{title}: {width}?", "<image> {width}: 64?"),
    ],
)
@pytest.mark.parametrize("data", [{}, {"variants": 2, "balance": True}])
def test_other_words_ask_of_the_same_pictures_for_the_same_answers(pictures, task, prompt, question, data):
    own, asked = samples(pictures, task, None, **data), samples(pictures, task, prompt, **data)
    assert len(own) == len(asked) >= 4
    for before, after in zip(own, asked, strict=True):
        assert [image.tobytes() for image in before.images] == [image.tobytes() for image in after.images]
        words = {"question", "parts"}
        assert before.record.model_dump(exclude=words) == after.record.model_dump(exclude=words)
        assert after.record.question == question != before.record.question
        parts = after.record.content()
        assert [part["type"] for part in parts].count("image") == len(after.images)
        assert "".join(part.get("text", "<image>") for part in parts) == question


def test_other_words_stand_under_a_composite_picture_too(pictures):
    first, *_ = samples(pictures, "rotation:paper", "<image><image>How far?", layout="composite")
    assert len(first.images) == 1 and first.record.question.endswith("pictures, numbered 1 to 2.\nHow far?")


RECIPE = """\
model: nowhere
data: {{source: "folder:{pictures}", max_side: 4000}}
tasks:
  - jigsaw:easy
  - task: {task}
    prompt: "{prompt}"
output: {output}
"""


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("task", "prompt", "says"),
    [
        ("rotation:easy", "<image>By {stpe}?", "rotation-easy: the prompt's field {stpe} is neither a param nor a "),
        ("rotation:easy", "<image>By {stpe}?", "; did you mean 'step'?"),
        ("rotation:paper", "<image>How far?", "rotation-paper: the prompt has 1 <image> marks for 2 images"),
        ("rotation", "<image>How far?", "rotation-medium: the prompt has 1 <image> marks for 2 images: write one"),
        ("toy-caption", "{widht}?", "toy-caption-easy: the prompt's field {widht} is neither"),
        ("rotation:easy", "<image>By { step }?", "the prompt has a { of no field: write {name}, or {{ for the brace"),
        ("rotation:easy", "<image>By }?", "the prompt has a } of no field: write {name}, or }} for the brace"),
        ("rotation:easy", "", "a prompt without words asks nothing"),
        ("rotation:easy", " <image> ", "a prompt without words asks nothing"),
        ("rotation:easy?min_side=4000", "<image>By {step}?", "none of the"),
    ],
)
def test_words_that_do_not_fit_are_a_line_before_anything_is_loaded(
    pictures, tmp_path, capsys, dry_run, task, prompt, says
):
    path, output = tmp_path / "mine.yaml", tmp_path / "run"
    path.write_text(RECIPE.format(pictures=pictures, task=task, prompt=prompt, output=output))
    assert cli(["train", str(path), *dry_run]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}, line 6, tasks.1.prompt: ") and error.count("\n") == 1
    assert says in error
    assert not output.exists()


@pytest.mark.parametrize(
    ("data", "task"),
    [
        ("{build: builds/photos}", "task: rotation:easy"),
        ("{source: 'folder:a'}", "data: {build: b}\n    task: rotation"),
    ],
)
def test_a_build_is_asked_in_its_own_words(tmp_path, data, task):
    text = f"model: m\ndata: {data}\noutput: o\ntasks:\n  - {task}\n    prompt: <image>How far?\n"
    (tmp_path / "mine.yaml").write_text(text)
    line = text[: text.index("prompt")].count("\n") + 1
    with pytest.raises(UsageError, match=rf"mine\.yaml, line {line}, tasks\.0\.prompt: a build has fixed") as caught:
        load_recipe(tmp_path / "mine.yaml")
    assert "leave the prompt out, or render from a source" in str(caught.value)


def test_python_is_told_so_too(pictures, tmp_path):
    build(["rotation:easy"], f"folder:{pictures}", tmp_path / "built", test_fraction=0.0)
    with pytest.raises(UsageError, match="leave out the prompt of rotation:easy"):
        open_data(DataSettings(build=str(tmp_path / "built")), [TaskSettings(task="rotation:easy", prompt="<image>?")])
    config: TaskConfig = replace(parse_config("rotation:easy", registry()), prompt="<image>?")
    with pytest.raises(UsageError, match="leave out the prompt given for rotation-easy"):
        build([config], f"folder:{pictures}", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_phase_has_the_words_of_the_recipe():
    phase = "phases: [{until: 0.5, tasks: {task: rotation, prompt: Turned}}]"
    text = (
        f"model: m\ndata: {{source: 'folder:a'}}\ntasks: rotation\noutput: o\ncurriculum: {{kind: schedule, {phase}}}"
    )
    with pytest.raises(UsageError, match="a phase's tasks are those of the recipe: leave their prompt out"):
        parse_recipe(text)


def test_a_run_trains_and_evaluates_in_the_recipes_words(pictures, tmp_path):
    pytest.importorskip("torch", reason="needs the extra 'train'")
    from ssl4rl_core.testing.tiny import tiny_lm
    from ssl4rl_core.training.grpo import train
    from ssl4rl_core.training.progress import Display
    from ssl4rl_core.training.run_folder import read_run

    model = tiny_lm(tmp_path / "lm", ["Is it? yes no <answer>"], hidden=32, layers=1)
    recipe = parse_recipe(f"""
model: {model}
data: {{source: "folder:{pictures}", test_fraction: 0.5}}
tasks: {{task: "toy-caption:easy", prompt: "Is it {{width}}?"}}
format: answer_only
grpo:
  {{max_steps: 1, per_device_train_batch_size: 2, num_generations: 2, max_completion_length: 2, save_strategy: "no"}}
output: {tmp_path / "run"}
""")
    run = read_run(train(recipe, display=Display(shown=False)), "run")
    assert {completion.stage for completion in run.completions} == {"start", "end"}
    assert {completion.question for completion in run.completions} == {"Is it 64?"}
    assert parse_recipe(run.recipe).tasks == recipe.tasks
