"""What the folder of a resumed run says: the recipe that it went on with, and the steps of the model that is there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ssl4rl_core.errors import UsageError
from ssl4rl_core.training.recipe import Recipe, parse_recipe
from ssl4rl_core.training.run_folder import Result, read_run
from ssl4rl_core.training.run_writer import RunWriter

ROOT = Path(__file__).parents[1]
PLUGIN = """
from ssl4rl_core import hookimpl
from tests.training_toys import Few

@hookimpl
def ssl4rl_tasks():
    return [Few]
"""


def made(output: Path, steps: int) -> Recipe:
    data = "data: {source: 'folder:x'}\ntasks: turn\n"
    return parse_recipe(f"model: m\n{data}grpo: {{max_steps: {steps}}}\noutput: {output}\n")


def begun(output: Path, steps: int = 9) -> RunWriter:
    """A run with results of its start and nine steps; the last line was cut short."""
    writer = RunWriter(made(output, steps))
    writer.begin()
    figures = {"n": 4, "accuracy": 0.5, "low": 0.2, "high": 0.8, "chance": 0.25}
    writer.add_results([Result(task="turn", level="easy", stage="start", **figures)])
    for step in range(1, 10):
        writer.log({"step": step, "loss": step / 3})
    metrics = output / "metrics.jsonl"
    metrics.write_text(metrics.read_text()[:-8])
    return writer


def resumed(output: Path, steps: int, checkpoint: int) -> RunWriter:
    writer = RunWriter(made(output, steps), resume=True)
    writer.begin()
    writer.go_on_after(checkpoint)
    return writer


def test_the_recipe_is_the_one_that_was_gone_on_with(tmp_path):
    begun(tmp_path)
    resumed(tmp_path, 20, 8)
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["grpo"] == {"max_steps": 20}
    run = read_run(tmp_path, "run")
    assert run.settings()["grpo"] == run.config["grpo"] == {"max_steps": 20} and len(run.results) == 1


def test_what_a_full_disk_or_gpu_asks_for_may_change_and_what_is_learned_may_not(tmp_path):
    begun(tmp_path)
    text = made(tmp_path, 9).to_yaml()
    room = ["grpo.save_total_limit=1", "grpo.vllm_gpu_memory_utilization=0.2", "evaluate.batch_size=1"]
    RunWriter(parse_recipe(text, changes=room), resume=True)
    with pytest.raises(UsageError, match=r"begun with another recipe \(grpo.learning_rate\)"):
        RunWriter(parse_recipe(text, changes=[*room, "grpo.learning_rate=1e-3"]), resume=True)


@pytest.mark.parametrize("checkpoint", [0, 4, 8, 9])
def test_steps_after_the_checkpoint_are_forgotten_and_a_cut_line_spoils_no_other(checkpoint, tmp_path):
    begun(tmp_path)
    resumed(tmp_path, 20, checkpoint).log({"step": 10, "loss": 0.0})
    kept = [*range(1, min(checkpoint, 8) + 1), 10]
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == kept
    run = read_run(tmp_path, "run")
    assert run.lost == 0 and [line["loss"] for line in run.metrics] == [*(step / 3 for step in kept[:-1]), 0.0]
    assert not list(tmp_path.glob(".*"))


def test_a_run_goes_on_with_as_many_processes_as_it_had(tmp_path):
    RunWriter(made(tmp_path, 9), processes=8).begin()
    RunWriter(made(tmp_path, 9), resume=True, processes=8)
    RunWriter(made(tmp_path, 9), resume=True)  # a dry run
    with pytest.raises(UsageError, match=r"was begun on 8 processes, and would go on with 4"):
        RunWriter(made(tmp_path, 9), resume=True, processes=4)


def test_other_processes_of_a_run_write_nothing(tmp_path):
    begun(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = RunWriter(made(tmp_path, 20), resume=True, active=False)
    other.begin()
    other.go_on_after(2)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.usefixtures("toy_tasks")
def test_a_shorter_run_shows_the_steps_it_has(lm, pictures, tmp_path):
    pytest.importorskip("trl", reason="needs the extra 'train'")
    from ssl4rl_core.training.grpo import train
    from ssl4rl_core.training.progress import Display
    from tests.training_toys import recipe

    for steps, resume in ((4, False), (3, True)):  # from checkpoint-2: the one of step 4 is of a longer run
        length = (f"grpo.max_steps={steps}", "grpo.save_strategy=steps", "grpo.save_steps=2")
        asked = recipe(lm, pictures, tmp_path / "run", *length, "evaluate.stages=[start]", tasks="[toy-word:easy]")
        train(asked, resume=resume, display=Display(shown=False))
    run = read_run(tmp_path / "run", "run")
    assert [line["step"] for line in run.metrics] == [1, 2, 3]
    assert run.settings()["grpo"]["max_steps"] == run.config["grpo"]["max_steps"] == 3


@pytest.mark.usefixtures("toy_tasks")
def test_a_run_that_ended_in_its_last_evaluation_is_evaluated_and_not_trained_on(lm, pictures, tmp_path, monkeypatch):
    pytest.importorskip("trl", reason="needs the extra 'train'")
    from ssl4rl_core.training import grpo
    from ssl4rl_core.training.progress import Display
    from tests.training_toys import recipe, train

    evaluate = grpo._Run.evaluate

    def dies(self, stage, model):
        if stage == "end":
            raise MemoryError
        evaluate(self, stage, model)

    # Four steps a pass, so that a pass is not over when the run is.
    length = ("grpo.max_steps=6", "grpo.lr_scheduler_type=constant", "grpo.save_strategy=steps", "grpo.save_steps=6")
    asked = recipe(lm, pictures, tmp_path / "run", *length, tasks="[toy-word:easy]")
    monkeypatch.setattr(grpo._Run, "evaluate", dies)
    with pytest.raises(MemoryError):
        train(asked)
    trained = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    monkeypatch.setattr(grpo._Run, "evaluate", evaluate)
    grpo.train(asked, resume=True, display=Display(shown=False))
    run = read_run(tmp_path / "run", "run")
    assert [line["step"] for line in run.metrics] == [1, 2, 3, 4, 5, 6]
    assert [result.stage for result in run.results] == ["start", "end"]
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == trained


@pytest.mark.usefixtures("toy_tasks")
def test_checkpoints_without_an_optimizer_are_not_gone_on_from(lm, pictures, tmp_path):
    pytest.importorskip("trl", reason="needs the extra 'train'")
    from ssl4rl_core.training.grpo import train
    from ssl4rl_core.training.progress import Display
    from tests.training_toys import recipe

    def run(steps: int, resume: bool) -> None:
        saved = ("grpo.save_strategy=steps", "grpo.save_steps=2", "grpo.save_only_model=true", "evaluate.stages=[]")
        made = recipe(lm, pictures, tmp_path / "run", *saved, f"grpo.max_steps={steps}", tasks="[toy-word:easy]")
        train(made, resume=resume, display=Display(shown=False))

    run(2, resume=False)
    with pytest.raises(UsageError, match=r"checkpoint-2 .*--set grpo.save_only_model.*--set model.name="):
        run(4, resume=True)
    run(2, resume=True)  # nothing is left to be trained
    assert [line["step"] for line in read_run(tmp_path / "run", "run").metrics] == [1, 2]


@pytest.mark.usefixtures("toy_tasks")
def test_what_was_skipped_is_counted_over_processes_and_resumes(lm, pictures, tmp_path):
    pytest.importorskip("trl", reason="needs the extra 'train'")
    from ssl4rl_core.training.data import open_data
    from ssl4rl_core.training.stream import Stream
    from tests.training_toys import recipe

    # Three groups a batch of two steps, the second of both processes.
    sizes = ("grpo.per_device_train_batch_size=6", "grpo.num_iterations=2", "grpo.use_cpu=true")
    saved = ("grpo.save_strategy=steps", "grpo.save_steps=3", "evaluate.stages=[]")
    asked = recipe(lm, pictures, tmp_path / "run", *sizes, *saved, tasks="[toy-few:easy]")
    (tmp_path / "mine.yaml").write_text(asked.to_yaml())
    (tmp_path / "plugin.py").write_text(PLUGIN)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "ssl4rl_core.cli", "--plugin", str(tmp_path / "plugin.py"), "train", str(tmp_path / "mine.yaml")]
    # Step 3 is in the middle of a batch, which is gone through again: two batches are all there are.
    for options in (["--set", "grpo.max_steps=3"], ["--set", "grpo.max_steps=5", "--resume"]):
        done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-3000:]

    stream = Stream(*open_data(asked.data, asked.tasks), seed=asked.seed)
    for batch in range(2):
        for reference in stream.references(batch, 3):
            stream.sample(reference)
    assert sum(stream.skipped.values()) > 3
    assert json.loads((tmp_path / "run" / "results.json").read_text())["config"]["skipped"] == stream.skipped
