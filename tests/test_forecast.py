"""`ssl4rl train RECIPE --dry-run`: figures that follow from the recipe, each with its line, and what is missing."""

import json
import re
from pathlib import Path

import pytest

from ssl4rl_core.cli import run as cli
from ssl4rl_core.errors import UsageError
from ssl4rl_core.training.forecast import forecast
from ssl4rl_core.training.recipe import Recipe, load_recipe, parse_recipe

ROOT = Path(__file__).parents[1]
TEXTS = ["By how many degrees was it turned? Give only the final answer, one of 0, 90, 180, 270, inside <answer>."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    from data_builders import build
    from ssl4rl_core.testing.memory import synthetic_source
    from ssl4rl_core.testing.tiny import tiny_vlm

    folder = tmp_path_factory.mktemp("forecast")
    tiny_vlm(folder / "lm", TEXTS, pixels=28, hidden=32, layers=1)
    build(["rotation:easy"], synthetic_source(30, width=64, height=64), folder / "built", test_fraction=0.2)
    return folder


def recipe(folder: Path, *changes: str) -> Recipe:
    text = f"""
model: {folder / "lm"}
data: {{build: {folder / "built"}}}
grpo:
  num_generations: 4
  per_device_train_batch_size: 8
  gradient_accumulation_steps: 2
  num_train_epochs: 3
  max_completion_length: 10
output: {folder / "run"}
"""
    return parse_recipe(text, "r.yaml", changes)


def values(made: Recipe, processes: int = 1) -> dict[str, str]:
    return {figure.name: figure.value for figure in forecast(made, processes=processes).figures}


def test_the_paper_s_setting_stands_in_the_paper_s_recipe():
    path = ROOT / "recipes" / "paper-qwen2.5-vl-3b.yaml"
    lines = path.read_text().splitlines()
    found = forecast(load_recipe(path, ["model=no-such-model"]), processes=8)
    figures = {figure.name: figure for figure in found.figures}
    assert figures["prompts a batch"].value == "512"
    assert figures["completions an update"].value == "640 = 128 prompts x 5"
    assert figures["reward"].value == "1 x answer + 0 x format"
    assert figures["tokens of a prompt"].value == "at most 1,024"
    assert figures["tokens of a completion"].value == "at most 2,048"
    assert figures["updates"].value.startswith("20 passes")
    said = {"learning rate": "learning_rate: 1.0e-6", "KL coefficient": "beta: 0.01", "task": "tasks: rotation:paper"}
    for name, key in said.items():
        assert key in lines[int(figures[name].comes_from.removeprefix("line ")) - 1]
    missing = "\n".join(found.missing)
    assert "builds/rotation-paper" in missing and "no-such-model" in missing


# Batches that are gone through in one optimizer step, in two, in half a one, and in one and a half.
@pytest.mark.parametrize(("slices", "accumulated"), [(2, 2), (4, 2), (2, 4), (3, 2)])
def test_a_forecast_is_what_training_does(folder, slices, accumulated):
    from datasets.utils import disable_progress_bars

    from ssl4rl_core.training.grpo import train
    from ssl4rl_core.training.progress import Display
    from ssl4rl_core.training.run_folder import read_run

    disable_progress_bars()
    sizes = (f"grpo.steps_per_generation={slices}", f"grpo.gradient_accumulation_steps={accumulated}")
    output = f"output={folder / f'trained-{slices}-{accumulated}'}"
    made = recipe(folder, output, *sizes, "grpo.num_train_epochs=1", "grpo.save_strategy='no'", "evaluate.stages=[]")
    expected = values(made)
    done = read_run(train(made, display=Display(shown=False)), "run")
    assert expected["updates"] == str(len(done.metrics))
    assert expected["completions an update"] == f"{8 * accumulated} = {2 * accumulated} prompts x 4"
    assert expected["completions"] == str(8 * accumulated * len(done.metrics))


def test_memory_is_of_all_weights_and_less_with_an_adapter_or_without_a_reference(folder):
    count = int(values(recipe(folder))["parameters"].partition(",")[0] + "000")
    assert count > 0
    whole = values(recipe(folder, "model.dtype=float32", "grpo.beta=0.1"))
    assert "reference 0.00" in whole["memory a process"]
    trained = int(
        values(recipe(folder, "peft={r: 2, target_modules: [q_proj]}"))["parameters"].split()[3].replace(",", "")
    )
    assert 0 < trained < count / 10


def test_updates_that_16_bits_round_away_are_warned_of(folder, tmp_path):
    import io

    from rich.console import Console

    from ssl4rl_core.training.grpo import train
    from ssl4rl_core.training.progress import Display

    small = ("grpo.max_steps=1", "grpo.learning_rate=1e-6", "evaluate.stages=[]", f"output={tmp_path / 'run'}")
    lora = "peft={r: 2, target_modules: [q_proj]}"

    def says(*changes: str) -> bool:
        made, said = recipe(folder, *small, *changes), io.StringIO()
        train(made, overwrite=True, display=Display(Console(file=said)))
        warned = (
            "--set model.dtype: 16-bit weights round most updates away at a learning rate of 1e-06" in said.getvalue()
        )
        assert warned == ("warning" in values(made))
        return warned

    assert says("model.dtype=bfloat16")
    assert not any([says("model.dtype=float32"), says("model.dtype=bfloat16", lora)])
    assert not says("model.dtype=bfloat16", "grpo.learning_rate=1e-3")


@pytest.mark.parametrize("peft", [(), ("peft={r: 64, target_modules: all-linear}",)])
def test_disk_is_what_a_run_leaves_there_and_a_checkpoint_more(folder, tmp_path, peft):
    from datasets.utils import disable_progress_bars

    from ssl4rl_core.training.grpo import train
    from ssl4rl_core.training.progress import Display

    disable_progress_bars()
    saved = ("grpo.save_steps=1", "grpo.save_total_limit=2", "grpo.max_steps=3", "evaluate.stages=[]")
    made = recipe(folder, *saved, *peft, f"output={tmp_path / 'run'}", "grpo.gradient_accumulation_steps=1")
    found = re.fullmatch(
        r"about (.*) MiB \(checkpoints 3 x (.*) MiB, one of them until the next is whole; (model|adapter) (.*) MiB\)",
        values(made)["disk"],
    )
    assert found is not None and found[3] == ("adapter" if peft else "model")
    train(made, display=Display(shown=False))
    there = {
        path.parent.name: sum(file.stat().st_size for file in path.parent.iterdir() if file.suffix != ".json")
        for path in (tmp_path / "run").rglob("*.safetensors")
    }
    assert there.keys() == {"checkpoint-2", "checkpoint-3", "model"}
    expected = {"checkpoint-2": float(found[2]), "checkpoint-3": float(found[2]), "model": float(found[4])}
    for name, size in there.items():
        assert size / 2**20 == pytest.approx(expected[name], rel=0.1, abs=0.1), name
    assert float(found[1]) == pytest.approx(3 * expected["checkpoint-2"] + expected["model"], abs=0.2)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["grpo.save_strategy='no'"], "checkpoints none"),
        (["grpo.max_steps=250"], "checkpoints 1 x"),  # at the end, by save_steps of 500
        (["grpo.max_steps=250", "grpo.save_steps=100"], "checkpoints 3 x"),
        (["grpo.max_steps=250", "grpo.save_steps=0.1", "grpo.save_total_limit=4"], "checkpoints 5 x"),
        (["grpo.max_steps=250", "grpo.save_steps=0"], "checkpoints 1 x"),
        (["grpo.save_strategy=epoch"], "checkpoints 3 x"),
        (["data.build=nowhere", "grpo.save_steps=50"], "a checkpoint, all of them kept"),
        (["data.build=nowhere", "grpo.save_total_limit=1"], "checkpoints 2 x"),
        (["format_start={steps: 1}"], "after the format start"),
    ],
)
def test_checkpoints_are_counted_as_they_are_kept(folder, changes, says):
    assert says in values(recipe(folder, *changes))["disk"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("grpo.num_generations=3", "a batch of 16 completions"),
        ("grpo.num_generation=3", "did you mean 'num_generations'"),
        ("format=thinkanswer", "think_answer"),
        ("data={source: 'embedded:faces'}", "name at least one"),
        ("grpo.seed=1", "set 'seed' at the top"),
        ("grpo.optim=nosuch", "nosuch is not a valid OptimizerNames"),
        ("curriculum={kind: schedule, phases: [{until: 0.5, tasks: nosuch}]}", "nosuch is none of the recipe's"),
        ("peft={target_modules: [nosuch]}", "peft: Target modules .*nosuch.* not found"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(folder, change, message):
    with pytest.raises(UsageError, match=message) as raised:
        forecast(recipe(folder, change))
    assert "\n" not in str(raised.value)


def test_held_out_samples_that_are_not_there_are_missed_where_they_would_be_asked(folder):
    changes = "data={source: 'embedded:faces', test_fraction: 0}", "tasks=['rotation:easy?min_side=25']"
    with pytest.raises(UsageError, match="no test samples of rotation-easy-min-side-25: take a larger test fraction"):
        forecast(recipe(folder, *changes))
    assert forecast(recipe(folder, *changes, "evaluate.stages=[]")).missing == []


def test_a_folder_with_parts_of_a_run_is_missed_as_training_would(folder, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "recipe.yaml").write_text("{}")
    made = recipe(folder, f"output={tmp_path / 'out'}")
    [missing] = forecast(made).missing
    assert missing.startswith("the output folder (--set output): ") and "--resume or --overwrite" in missing
    assert forecast(made, overwrite=True).missing == []
    [missing] = forecast(made, resume=True).missing
    assert "was begun with another recipe" in missing
    (tmp_path / "r.yaml").write_text(made.to_yaml())
    for more in (["--dry-run"], []):
        assert cli(["train", str(tmp_path / "r.yaml"), "--resume", "--overwrite", *more]) == 2
        assert "say one of both" in capsys.readouterr().err


def test_what_only_a_gpu_does_is_missed_where_there_is_none(folder, monkeypatch):
    from ssl4rl_core.training.settings import missing_here

    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)

    def missing(*changes: str) -> list[str]:
        return list(missing_here(recipe(folder, *changes)))

    assert "--set grpo.use_cpu=true" in missing("grpo.bf16=true")[0]
    assert missing("grpo.bf16=true", "grpo.use_cpu=true") == []
    assert "--set grpo.fp16=false" in missing("grpo.fp16=true", "grpo.use_cpu=true")[0]
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert missing() == ["a GPU for each process: on a CPU, --set grpo.use_cpu=true"]
    assert missing("grpo.use_cpu=true") == []


def test_an_unknown_task_of_a_source_is_refused_and_more_processes_divide_what_one_does_not(folder):
    with pytest.raises(UsageError, match="rotatoin"):
        forecast(recipe(folder, "data={source: 'embedded:faces'}", "tasks=rotatoin"))
    uneven = recipe(folder, "grpo.per_device_train_batch_size=1", "grpo.gradient_accumulation_steps=1")
    with pytest.raises(UsageError, match="--processes"):
        forecast(uneven)
    assert values(uneven, processes=8)["prompts a batch"] == "2"


def test_the_command_prints_json_and_trains_nothing(folder, capsys, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(recipe(folder).to_yaml())
    assert cli(["train", str(path), "--dry-run", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["missing"] == []
    assert {"what": "completions a prompt", "value": "4", "from": "line 40"}.keys() == printed["figures"][0].keys()
    assert not (folder / "run").exists()


def test_what_is_missing_is_printed_and_ends_with_exit_code_1(folder, capsys, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(recipe(folder).to_yaml())
    arguments = ["train", str(path), "--dry-run", "--set", "model.name=no-such-model"]
    assert cli(["train", str(path), "--dry-run"]) == 0
    assert "nothing is missing" in capsys.readouterr().out
    assert cli(arguments) == 1
    shown = capsys.readouterr()
    assert "completions a prompt" in shown.out and "missing here:\n  model (--set model.name): " in shown.out
    assert shown.err == ""
    assert cli([*arguments, "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["missing"]) == 1


def test_a_missing_model_is_named_where_its_name_stands(folder):
    text = "model:\n  name: no-such-model\n  dtype: float32\n"
    text += f"data: {{build: {folder / 'built'}}}\ngrpo: {{num_generations: 4}}\noutput: {folder / 'run'}\n"
    found = forecast(parse_recipe(text, "r.yaml", ["model.dtype=bfloat16"]))
    assert {figure.name: figure.comes_from for figure in found.figures}["model"] == "line 2"
    [missing] = found.missing
    assert missing.startswith("model (r.yaml, line 2, model.name): there is no model no-such-model")


def test_missing_data_are_named_once_with_every_line_that_they_stand_in(folder):
    text = f"""
model: {folder / "lm"}
data:
  source: embedded:faces
tasks:
  - rotation:easy?min_side=25
  - task: neighbor:easy
    data: {{source: "triples:nowhere"}}
  - task: attribute-mask:easy
    data: {{source: "triples:nowhere"}}
evaluate:
  downstream:
    - {{task: "link:hard", source: "triples:nowhere"}}
    - {{task: "link:easy", source: "triples:elsewhere"}}
grpo: {{num_generations: 4}}
output: {folder / "run"}
"""
    first, second = forecast(parse_recipe(text, "r.yaml")).missing
    named = "r.yaml, line 8, tasks.1.data.source; r.yaml, line 10, tasks.2.data.source"
    assert first.startswith(f"data ({named}; r.yaml, line 13, evaluate.downstream.0.source): triples:nowhere: ")
    assert second.startswith("data (r.yaml, line 14, evaluate.downstream.1.source): triples:elsewhere: ")
    photos, *rest = forecast(parse_recipe(text, "r.yaml", ["data.source=folder:no-such-photos"])).missing
    assert photos.startswith("data (--set data.source): ") and rest == [first, second]


def test_data_that_only_fail_together_are_named_by_their_block(folder):
    twice = "{task: 'rotation:easy?min_side=25', source: 'embedded:faces'}"
    [missing] = forecast(recipe(folder, f"evaluate.downstream=[{twice}, {twice}]")).missing
    assert missing.startswith("data (r.yaml, line 3, data): evaluate.downstream names rotation:easy?min_side=25 of one")


def test_a_misspelt_key_is_named_before_what_the_machine_lacks(folder, monkeypatch):
    from ssl4rl_core.training.grpo import train

    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    with pytest.raises(UsageError, match="did you mean 'learning_rate'"):
        train(recipe(folder, "grpo.bf16=true", "grpo.learnin_rate=1"))
    with pytest.raises(UsageError, match="missing here: a GPU"):
        train(recipe(folder, "grpo.bf16=true"))
