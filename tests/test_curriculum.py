"""Curricula: shares of the levels, what they learn from rewards, and that a resumed run draws what it would have."""

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ssl4rl_core.errors import UsageError
from ssl4rl_core.training.curriculum import Goldilocks, Schedule, Uniform, make_curriculum
from ssl4rl_core.training.recipe import Recipe, parse_recipe
from ssl4rl_core.training.run_folder import read_run

LEVELS = {"a-easy": 1.0, "a-medium": 1.0, "a-hard": 1.0, "b-easy": 3.0}
TASKS = {config: config[0] for config in LEVELS}


def settings(text: str) -> Recipe:
    return parse_recipe(
        f"model: m\ndata: {{source: folder:p}}\ntasks: [a, b]\noutput: o\ncurriculum: {text}\n", "r.yaml"
    )


def test_uniform_is_the_weights_throughout():
    shares = Uniform({"a": 1.0, "b": 3.0}).shares(0.9)
    assert shares == {"a": 0.25, "b": 0.75}


def test_goldilocks_draws_what_is_neither_too_easy_nor_too_hard():
    curriculum = Goldilocks(LEVELS, TASKS, floor=0.2, window=8)
    assert curriculum.shares(0)["a-easy"] == pytest.approx(1 / 6)
    for _ in range(100):
        curriculum.observe("a-easy", 1.0)
        curriculum.observe("a-medium", 0.5)
        curriculum.observe("a-hard", 0.1)
    shares = curriculum.shares(0)
    assert math.fsum(shares.values()) == pytest.approx(1)
    assert shares["b-easy"] == pytest.approx(0.5)  # a task keeps its weight
    spread = 0.25 + 0.09
    assert shares["a-easy"] == pytest.approx(0.2 / 6)  # the floor
    assert shares["a-medium"] == pytest.approx(0.2 / 6 + 0.8 * 0.5 * 0.25 / spread)
    assert shares["a-hard"] == pytest.approx(0.2 / 6 + 0.8 * 0.5 * 0.09 / spread)


def test_goldilocks_forgets_what_was_long_ago():
    curriculum = Goldilocks(LEVELS, TASKS, window=8)
    for accuracy in [0.0] * 50 + [1.0] * 8:
        curriculum.observe("a-easy", accuracy)
    assert 0.8 < curriculum.state()["accuracy"]["a-easy"] < 0.95


def test_one_unlucky_group_at_the_beginning_does_not_drown_a_level():
    curriculum = Goldilocks({"a-easy": 1.0, "a-hard": 1.0}, TASKS)
    for accuracy in [0.0] + [0.25] * 15:
        curriculum.observe("a-easy", accuracy)
        curriculum.observe("a-hard", 0.25)
    assert curriculum.shares(0)["a-easy"] > 0.47


def test_a_task_that_is_wholly_solved_goes_by_weight():
    curriculum = Goldilocks({"a-easy": 1.0, "a-hard": 3.0}, TASKS, floor=0.0)
    for config in ("a-easy", "a-hard"):
        curriculum.observe(config, 1.0)
    assert curriculum.shares(0.5) == {"a-easy": 0.25, "a-hard": 0.75}


def test_a_restored_curriculum_goes_on_as_it_was():
    first, second = Goldilocks(LEVELS, TASKS), Goldilocks(LEVELS, TASKS)
    for number in range(30):
        first.observe("a-hard", number % 3 / 2)
    second.restore(json.loads(json.dumps(first.state())))
    assert second.shares(0) == first.shares(0) != Goldilocks(LEVELS, TASKS).shares(0)


def test_a_schedule_has_its_phases_and_then_the_weights():
    text = "{kind: schedule, phases: [{until: 0.25, tasks: 'a:easy'}, {until: 0.5, tasks: [a, {task: b, weight: 3}]}]}"
    curriculum = make_curriculum(settings(text), LEVELS, TASKS)
    assert isinstance(curriculum, Schedule)
    assert curriculum.shares(0.0) == {"a-easy": 1, "a-medium": 0, "a-hard": 0, "b-easy": 0}
    assert curriculum.shares(0.25) == pytest.approx(
        {"a-easy": 1 / 12, "a-medium": 1 / 12, "a-hard": 1 / 12, "b-easy": 0.75}
    )
    assert curriculum.shares(0.5)["b-easy"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sometimes", "line 5, curriculum.kind"),
        ("{kind: schedule}", "phases belong to kind schedule"),
        ("{kind: uniform, floor: 0.1}", "floor and window belong to kind goldilocks"),
        ("{kind: goldilocks, flor: 0.1}", "did you mean 'floor'"),
        ("{kind: schedule, phases: [{until: 0.5, tasks: a}, {until: 0.4, tasks: b}]}", "each must end later"),
        ("{kind: schedule, phases: [{until: 2, tasks: a}]}", "phases"),
    ],
)
def test_a_curriculum_that_cannot_be_is_refused(text: str, message: str):
    with pytest.raises(UsageError, match=message):
        settings(text)


def test_a_phase_names_a_task_as_the_recipe_does():
    weights = {"rotation-easy-step-45": 1.0, "rotation-hard": 1.0}
    text = "{kind: schedule, phases: [{until: 0.5, tasks: 'rotation:easy?step=45'}]}"
    curriculum = make_curriculum(settings(text), weights, dict.fromkeys(weights, "rotation"))
    assert curriculum.shares(0) == {"rotation-easy-step-45": 1, "rotation-hard": 0}
    with pytest.raises(UsageError, match="a-easy is named twice"):
        make_curriculum(settings("{kind: schedule, phases: [{until: 0.5, tasks: [a, 'a:easy']}]}"), LEVELS, TASKS)


def test_a_phase_of_an_unknown_task_is_refused():
    with pytest.raises(UsageError, match=r"r\.yaml, line 5, curriculum\.phases.*: c is none of the recipe's"):
        make_curriculum(settings("{kind: schedule, phases: [{until: 0.5, tasks: c}]}"), LEVELS, TASKS)


# --- in training ---------------------------------------------------------------------------------------------------

PLUGIN = '''
from ssl4rl_core import Choice, Draft, ImageItem, ImageParams, Task, hookimpl

class Sums(Task[ImageItem, ImageParams]):
    """Left or right?"""
    name, version = "toy-sums", 1
    levels = {"easy": ImageParams(min_side=8), "medium": ImageParams(min_side=9), "hard": ImageParams(min_side=10)}
    prompt = "Left or right, of {number}?"

    def transform(self, item, params, rng, view):
        answer = Choice(str(rng.choice(["left", "right"])), ["left", "right"])
        return Draft(answer=answer, fields={"number": params.min_side})

    def chance(self, params):
        return 0.5

@hookimpl
def ssl4rl_tasks():
    return [Sums]
'''
RECIPE = """
model: lm
data: {source: "folder:pictures", test_fraction: 0.5}
tasks: toy-sums
format: answer_only
format_start: {steps: 60, batch: 16, learning_rate: 3e-3}
curriculum: {kind: goldilocks, window: 4}
grpo:
  max_steps: 8
  per_device_train_batch_size: 24
  num_generations: 4
  learning_rate: 1e-3
  max_completion_length: 6
  gradient_checkpointing: false
  save_strategy: steps
  save_steps: 2
evaluate: {limit: 4}
output: run
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    from PIL import Image

    from ssl4rl_core.testing.tiny import tiny_lm

    folder = tmp_path_factory.mktemp("curriculum")
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for number in range(16):
        Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(folder / "pictures" / f"{number}.png")
    tiny_lm(
        folder / "lm",
        ["Left or right, of 8? Give only the final answer, one of left, right, inside"],
        hidden=32,
        layers=1,
    )
    (folder / "plugin.py").write_text(PLUGIN)
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def ssl4rl(folder: Path, output: str, *options: str) -> subprocess.Popen:
    words = ["--plugin", "plugin.py", "train", "recipe.yaml", "--set", f"output={output}", *options]
    return subprocess.Popen([sys.executable, "-m", "ssl4rl_core.cli", *words], cwd=folder, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen) -> None:
    _, said = process.communicate()
    assert process.returncode == 0, said.decode()


def weights(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "model" / "model.safetensors")


def test_a_killed_run_goes_on_as_if_nothing_had_been(folder):
    finish(ssl4rl(folder, "whole"))
    whole = read_run(folder / "whole", "whole")
    shares = [[line[f"share/toy-sums-{level}"] for level in ("easy", "medium", "hard")] for line in whole.metrics]
    assert len({tuple(each) for each in shares}) > 2  # the curriculum has moved
    for line in whole.metrics:
        assert math.fsum(line[f"share/toy-sums-{level}"] for level in ("easy", "medium", "hard")) == pytest.approx(1)
        assert all(0 <= line[key] <= 1 for key in line if key.startswith("frac_reward_zero_std/"))
        assert any(key.startswith("completion_length/toy-sums-") for key in line)

    killed = ssl4rl(folder, "killed")
    deadline = time.monotonic() + 120
    while not (folder / "killed" / "checkpoints" / "checkpoint-4" / "trainer_state.json").is_file():
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (folder / "killed" / "model").exists()
    # As if it had died while it saved one more.
    torn = folder / "killed" / "checkpoints" / "checkpoint-7"
    shutil.copytree(folder / "killed" / "checkpoints" / "checkpoint-4", torn)
    (torn / "trainer_state.json").write_text('{"global_st')
    finish(ssl4rl(folder, "killed", "--resume"))

    resumed = read_run(folder / "killed", "killed")
    timed = ("seconds", "stream_seconds", "reward_seconds")
    assert [{k: v for k, v in line.items() if k not in timed} for line in resumed.metrics] == [
        {k: v for k, v in line.items() if k not in timed} for line in whole.metrics
    ]
    first, second = weights(folder / "whole"), weights(folder / "killed")
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.usefixtures("toy_tasks")
def test_a_run_resumed_in_the_middle_of_a_batch_learns_from_that_batch_once(lm, pictures, tmp_path):
    from ssl4rl_core.training.grpo import train
    from ssl4rl_core.training.progress import Display
    from tests.training_toys import recipe

    # Two groups a batch, four steps from it: it ends after step 4, and after a resume from step 6 at steps 10 and 14.
    saved = ("grpo.num_iterations=4", "grpo.save_strategy=steps", "grpo.save_steps=1", "curriculum.kind=goldilocks")
    for steps, resume in ((6, False), (9, True), (11, True)):
        length = (f"grpo.max_steps={steps}", "evaluate={stages: [start], limit: 1}")
        made = recipe(lm, pictures, tmp_path / "run", *saved, *length, tasks="[toy-word:easy]")
        train(made, resume=resume, display=Display(shown=False))
    learnt = [
        json.loads((tmp_path / f"run/checkpoints/checkpoint-{step}/curriculum.json").read_text())["groups"]
        for step in range(1, 12)
    ]
    of_batches = [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert [sum(groups.values()) for groups in learnt] == [2 * batches for batches in of_batches]


def test_two_processes_train_one_model_and_one_of_them_writes(folder):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "ssl4rl_core.cli", "--plugin", "plugin.py", "train", "recipe.yaml", "--set", "output=two"]
    # Half the completions each: the batch is that of one process.
    command += ["--set", "grpo.use_cpu=true", "--set", "grpo.per_device_train_batch_size=12"]

    def run(*options: str) -> str:
        done = subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    said = run("--set", "grpo.max_steps=4")
    assert said.count("run: two") == 1 and said.count("95 % interval") == 1
    two = read_run(folder / "two", "two")
    assert [line["step"] for line in two.metrics] == [1, 2, 3, 4]
    assert {result.stage for result in two.results} == {"start", "format", "end"}
    assert sum(value for key, value in two.metrics[-1].items() if key.startswith("share/")) == pytest.approx(1)
    assert weights(folder / "two")

    (folder / "two" / "results.json").unlink()
    run("--resume")
    two = read_run(folder / "two", "two")
    assert [line["step"] for line in two.metrics] == list(range(1, 9))


def test_resuming_nothing_is_refused_before_a_model_is_loaded(folder):
    process = ssl4rl(folder, "nothing", "--resume", "--set", "model=no-such-model")
    assert process.wait() == 2
    assert process.stderr is not None
    assert b"nothing holds no run to resume" in process.stderr.read()
