"""Training end to end, with models of a few thousand weights: what a run leaves, and what it refuses."""

import importlib.util
import json
import os
import shutil
import weakref
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from ssl4rl_core.cli import run as cli
from ssl4rl_core.errors import UsageError
from ssl4rl_core.training.recipe import parse_recipe
from ssl4rl_core.training.run_folder import read_run
from tests.training_toys import base_of, recipe, train

os.environ.setdefault("HF_HUB_OFFLINE", "1")
pytestmark = pytest.mark.usefixtures("toy_tasks")


def test_a_run_leaves_all_that_a_report_needs(vlm, pictures, tmp_path):
    changes = ("format_start={steps: 3, batch: 4}", "grpo.beta=0.01", "grpo.gradient_accumulation_steps=2")
    out = train(recipe(vlm, pictures, tmp_path / "run", *changes, tasks="[toy-shade, toy-pair:easy, toy-word:easy]"))

    run = read_run(out, "run")
    configs = {"toy-shade-easy", "toy-shade-medium", "toy-pair-easy", "toy-word-easy"}
    assert {(each.config, each.stage) for each in run.results} == {
        (config, stage) for config in configs for stage in ("start", "format", "end")
    }
    for result in run.results:
        assert (result.n, result.chance, result.model) == (4, 0.5, str(vlm))
        assert result.low <= result.accuracy <= result.high
        assert result.format_rate is not None and result.seconds is not None

    assert [line["step"] for line in run.metrics] == [1, 2]
    expected = {"reward", "rewards/answer", "rewards/format", "completion_length", "frac_reward_zero_std", "kl"}
    assert all(expected | {"entropy", "seconds"} <= set(line) for line in run.metrics)
    assert any(f"rewards/answer/{config}" in line for line in run.metrics for config in configs)

    assert Counter(each.stage for each in run.completions) == {"start": 8, "format": 8, "end": 8}
    asked = {stage: {each.sample for each in run.completions if each.stage == stage} for stage in ("start", "end")}
    assert asked["start"] == asked["end"]
    for each in run.completions:
        assert len(each.images) == {"pair": 2, "shad": 1, "word": 0}[each.config[4:8]]
        assert all((out / image).is_file() for image in each.images)

    results = json.loads((out / "results.json").read_text())
    assert set(results) == {"runs", "config"}
    assert results["config"]["grpo"]["beta"] == 0.01
    assert set(run.environment["packages"]) >= {"torch", "transformers", "trl"}
    assert parse_recipe(run.recipe).model_dump(mode="json") | {"skipped": {}} == results["config"]
    assert not list(out.glob(".*"))

    # The reference of the KL term is the model after the format start, so the first step is at a distance of 0.
    assert run.metrics[0]["kl"] == pytest.approx(0.0, abs=1e-6)


def test_a_run_is_not_overwritten_by_mistake(pictures, vlm, tmp_path):
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(UsageError, match="holds a run already"):
        train(recipe(vlm, pictures, tmp_path))


def test_a_language_model_trains_on_questions_without_pictures(lm, pictures, tmp_path):
    out = train(recipe(lm, pictures, tmp_path / "run", tasks="[toy-word:easy]"))
    assert [result.stage for result in read_run(out, "run").results] == ["start", "end"]
    with pytest.raises(UsageError, match="toy-shade asks about pictures, and the model sees none"):
        train(recipe(lm, pictures, tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_lora_trains_an_adapter_that_eval_can_load(vlm, pictures, tmp_path):
    changes = ("peft={r: 2, target_modules: [q_proj, v_proj]}", "format_start={steps: 1, batch: 2}", "rewards.format=1")
    out = train(recipe(vlm, pictures, tmp_path / "run", *changes))
    assert (out / "model" / "adapter_config.json").is_file()
    assert not (out / "model" / "model.safetensors").exists()
    # The format start had an adapter too: no weights but those it targets have changed.
    before, after = weights(vlm), weights(out / "format")
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed and all("q_proj" in name or "v_proj" in name for name in changed)

    results = tmp_path / "eval" / "results.json"
    options = ["--source", f"folder:{pictures}", "--task", "toy-shade:easy", "--format", "answer_only", "--limit", "3"]
    options += ["--test-fraction", "0.5", "--max-tokens", "4", "--out", str(results)]
    assert cli(["eval", "--model", str(out / "model"), *options]) == 0
    [row] = json.loads(results.read_text())["runs"]
    assert (row["task"], row["level"], row["n"], row["chance"]) == ("toy-shade", "easy", 3, 0.5)


def test_eval_asks_about_nothing_that_the_model_was_trained_on(lm, pictures, tmp_path, capsys):
    # A quarter is held out; half of all would be questions of training.
    made = recipe(
        lm, pictures, tmp_path / "run", "data.test_fraction=0.25", "evaluate.stages=[]", tasks="[toy-word:easy]"
    )
    out = train(made)

    def asks(source: str, *options: str) -> tuple[int, str]:
        asked = [
            "--source",
            source,
            "--task",
            "toy-word:easy",
            "--format",
            "answer_only",
            "--max-tokens",
            "2",
            *options,
        ]
        code = cli(["eval", "--model", str(out / "model"), *asked])
        return code, capsys.readouterr().err

    trained_on = made.data.source or ""
    code, said = asks(trained_on, "--test-fraction", "0.5")
    assert code == 2 and "with 0.25 of it held out" in said and "--test-fraction 0.25, or --split train" in said
    for options in (["--test-fraction", "0.25"], ["--test-fraction", "0.5", "--split", "train"]):
        assert asks(trained_on, *options)[0] == 0
    shutil.copytree(pictures, tmp_path / "others")
    assert asks(f"folder:{tmp_path / 'others'}", "--test-fraction", "0.5")[0] == 0


def test_of_the_source_of_a_build_what_the_build_holds_out_is_asked(lm, pictures, tmp_path, capsys):
    from data_builders.builder import build

    build(["toy-word:easy"], f"folder:{pictures}", tmp_path / "built", test_fraction=0.5)
    asked = {"stages": ["end"], "downstream": [{"task": "toy-word:easy", "source": f"folder:{pictures}"}]}
    made = recipe(lm, pictures, tmp_path / "run", "grpo.max_steps=1").model_dump()
    made |= {"data": {"build": str(tmp_path / "built")}, "tasks": [], "evaluate": asked}
    out = train(type(recipe(lm, pictures, tmp_path)).model_validate(made))
    held_out, downstream = read_run(out, "run").results
    assert downstream.downstream and downstream.n == held_out.n == 8
    assert downstream.accuracy == held_out.accuracy  # of the very same questions

    options = ["--source", f"folder:{pictures}", "--task", "toy-word:easy", "--max-tokens", "2", "--test-fraction"]
    assert cli(["eval", "--model", str(out / "model"), *options, "0.6"]) == 2
    assert "with 0.5 of it held out" in capsys.readouterr().err
    assert cli(["eval", "--model", str(out / "model"), *options, "0.5"]) == 0


def test_an_adapter_stands_on_what_training_began_from(vlm, pictures, tmp_path):
    lora = "peft={r: 2, target_modules: [q_proj, v_proj], init_lora_weights: false}"  # one that changes the model
    first = train(recipe(vlm, pictures, tmp_path / "first", lora, "format_start={steps: 2, batch: 2}"))
    assert base_of(first) == str(first / "format")
    moved = first.rename(tmp_path / "moved")
    learnt = loaded_weights(moved / "model")
    second = train(recipe(moved / "model", pictures, tmp_path / "second", lora))
    assert base_of(second) == str(second / "base")
    begun = loaded_weights(second / "base")
    assert all(np.array_equal(begun[name], weight) for name, weight in learnt.items())
    # A copy goes with its own base, and not with what the first run has there.
    shutil.copytree(second, tmp_path / "copy")
    shutil.rmtree(second / "base")
    assert loaded_weights(tmp_path / "copy" / "model")


def test_all_weights_of_a_model_that_came_with_an_adapter_can_be_trained(vlm, pictures, tmp_path):
    lora = "peft={r: 2, target_modules: [q_proj, v_proj], init_lora_weights: false}"
    first = train(recipe(vlm, pictures, tmp_path / "first", lora))
    second = train(recipe(first / "model", pictures, tmp_path / "second", "grpo.beta=0.01", "evaluate.stages=[]"))
    # The reference of the KL term has the adapter in it.
    assert read_run(second, "run").metrics[0]["kl"] == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(UsageError, match="--overwrite replaces"):
        train(recipe(second / "model", pictures, second), overwrite=True)
    assert (second / "model").is_dir()


def loaded_weights(model: Path) -> dict[str, np.ndarray]:
    """As whoever loads the folder has them, adapters merged."""
    from ssl4rl_core.training.models import load_model
    from ssl4rl_core.training.recipe import ModelSettings

    state = load_model(ModelSettings(name=str(model))).model.state_dict()
    return {name: tensor.float().numpy() for name, tensor in state.items()}


def weights(folder: Path) -> dict:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def test_a_resumed_run_goes_on_where_it_stopped(lm, pictures, tmp_path, monkeypatch):
    from ssl4rl_core.training.grpo import train as run
    from ssl4rl_core.training.progress import Display
    from ssl4rl_core.training.stream import Stream

    batches: list[int] = []
    references = Stream.references
    monkeypatch.setattr(Stream, "references", lambda self, n, *rest: batches.append(n) or references(self, n, *rest))
    saved = ("grpo.save_strategy=steps", "grpo.save_steps=2", "grpo.gradient_accumulation_steps=2")
    whole = recipe(lm, pictures, tmp_path / "run", *saved, "grpo.max_steps=4", tasks="[toy-word:easy]")
    begun = whole.model_copy(update={"grpo": {**whole.grpo, "max_steps": 2}})
    train(begun)
    assert batches == [0, 1]
    # As if it had been killed after step 2: no results of the end.
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    results["runs"] = [result for result in results["runs"] if result["stage"] == "start"]
    (tmp_path / "run" / "results.json").write_text(json.dumps(results))

    run(whole, resume=True, display=Display(shown=False))
    assert batches == [0, 1, 2, 3]
    done = read_run(tmp_path / "run", "run")
    assert [line["step"] for line in done.metrics] == [1, 2, 3, 4]
    assert [result.stage for result in done.results] == ["start", "end"]
    with pytest.raises(UsageError, match="has ended"):
        run(whole, resume=True, display=Display(shown=False))
    hotter = whole.model_copy(update={"grpo": {**whole.grpo, "temperature": 0.5}})
    with pytest.raises(UsageError, match=r"another recipe \(grpo\.temperature\)"):
        run(hotter, resume=True, display=Display(shown=False))


def test_a_build_is_trained_on_evaluated_and_scored(lm, pictures, tmp_path, capsys):
    from data_builders.builder import build

    build(["toy-word:easy"], f"folder:{pictures}", tmp_path / "built", test_fraction=0.5)
    made = recipe(lm, pictures, tmp_path / "run", "grpo.max_steps=1").model_dump()
    made |= {"data": {"build": str(tmp_path / "built")}, "tasks": ["toy-word"]}
    out = train(type(recipe(lm, pictures, tmp_path)).model_validate(made))
    assert read_run(out, "run").results[0].n == 4

    line = {"completion": "<answer>left</answer>", "config": "toy-word-easy"}
    lines = [{**line, "item": f"{number}.png"} for number in range(16)] + [{**line, "item": "no.png"}]
    (tmp_path / "lines.jsonl").write_text("\n".join(map(json.dumps, lines)))
    options = ["--data", str(tmp_path / "built"), "--format", "answer_only", "--json"]
    capsys.readouterr()
    assert cli(["score", str(tmp_path / "lines.jsonl"), *options, "--out", str(tmp_path / "scores.jsonl")]) == 0
    printed = capsys.readouterr()
    [row] = json.loads(printed.out)
    assert (row["n"], row["format_rate"]) == (16, 1.0)
    assert "line 17: no sample of toy-word-easy with item 'no.png'" in printed.err
    scores = [json.loads(text) for text in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert row["accuracy"] == sum(score["score"] for score in scores) / 16


def test_prompts_over_the_limit_are_passed_over(lm, pictures, tmp_path):
    with pytest.raises(UsageError, match="prompt longer than max_prompt_tokens"):
        train(recipe(lm, pictures, tmp_path / "run", "max_prompt_tokens=3", tasks="[toy-word:easy]"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["data.test_fraction=0"], "no test samples of toy-word-easy: take a larger test fraction"),
        (["evaluate.downstream=[toy-shade:easy]"], "toy-shade asks about pictures, and the model sees none"),
        (["peft={target_modules: [nosuch]}"], "peft: Target modules .*nosuch.* not found"),
    ],
)
def test_what_fails_at_the_end_is_found_at_the_start(lm, pictures, tmp_path, changes, says):
    with pytest.raises(UsageError, match=says):
        train(recipe(lm, pictures, tmp_path / "run", *changes, "evaluate.stages=[end]", tasks="[toy-word:easy]"))
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(importlib.util.find_spec("flash_attn") is not None, reason="flash_attn is installed")
def test_a_package_that_a_model_wants_is_named(lm, pictures, tmp_path):
    made = recipe(lm, pictures, tmp_path / "run", tasks="[toy-word:easy]")
    settings = made.model.model_copy(update={"attn_implementation": "flash_attention_2"})
    with pytest.raises(UsageError, match=f"cannot load the model in folder {lm}: .*FlashAttention2") as caught:
        train(made.model_copy(update={"model": settings}))
    assert "\n" not in str(caught.value)


def test_a_model_that_takes_one_picture_is_told_of_the_composite_layout(vlm, pictures, monkeypatch, tmp_path):
    from ssl4rl_core.training.prompts import Prompter

    encode = Prompter.encode

    def one_picture(self, conversations):
        for conversation in conversations:
            if sum(part["type"] == "image" for part in conversation[0]["content"]) > 1:
                raise ValueError("only one image is supported")
        return encode(self, conversations)

    monkeypatch.setattr(Prompter, "encode", one_picture)
    with pytest.raises(UsageError, match=r"cannot take the 2 pictures of a toy-pair question.*composite"):
        train(recipe(vlm, pictures, tmp_path / "run", tasks="[toy-pair:easy]"))
    assert not (tmp_path / "run").exists()
    made = recipe(vlm, pictures, tmp_path / "run", "data.layout=composite", "grpo.max_steps=1", tasks="[toy-pair:easy]")
    assert read_run(train(made), "run").results


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["model=no/such-model"], "there is no model no/such-model"),
        (["model=./nowhere"], "there is no model folder ./nowhere"),
        (["data.source=folder:nowhere"], "nowhere"),
        (["tasks=[toy-shadow]"], "did you mean 'toy-shade'"),
        (["format=boxd"], "did you mean 'boxed'"),
        (["grpo.beat=1"], "--set grpo.beat: GRPOConfig has no field 'beat'; did you mean 'beta'"),
    ],
)
def test_what_is_missing_is_one_line(lm, pictures, tmp_path, capsys, changes, says):
    path = tmp_path / "mine.yaml"
    path.write_text(recipe(lm, pictures, tmp_path / "run", tasks="[toy-word:easy]").to_yaml())
    options = [option for change in changes for option in ("--set", change)]
    assert cli(["train", str(path), *options]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and "\n" not in error
    assert says in error
    assert not (tmp_path / "run").exists()


def test_a_missing_extra_is_named(monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "trl", None)
    assert cli(["eval", "--model", "m", "--data", "d"]) == 1
    assert "pip install 'ssl4rl-core[train]'" in capsys.readouterr().err


def test_a_model_that_is_shared_out_is_evaluated_as_it_was_saved(vlm, pictures, tmp_path, monkeypatch):
    from ssl4rl_core.training import grpo

    loaded: list[str] = []
    load_model = grpo.load_model
    monkeypatch.setattr(grpo, "load_model", lambda settings: loaded.append(settings.name) or load_model(settings))
    monkeypatch.setattr("ssl4rl_core.training.settings.shares_weights_out", lambda config: True)
    out = train(recipe(vlm, pictures, tmp_path / "run"))
    assert loaded == [str(vlm), str(out / "model")]
    assert [result.stage for result in read_run(out, "run").results] == ["start", "end"]
    with pytest.raises(UsageError, match="a mix of pictures and text cannot be trained under FSDP"):
        train(recipe(vlm, pictures, tmp_path / "mix", tasks="[toy-shade:easy, toy-word:easy]"))
    assert not (tmp_path / "mix").exists()


def test_what_training_needed_is_gone_when_the_model_is_asked_again(lm, pictures, tmp_path, monkeypatch):
    from ssl4rl_core.training import grpo
    from ssl4rl_core.training.trainer import StreamedTrainer

    references: list[weakref.ref[Any]] = []
    made, asked = StreamedTrainer.__init__, grpo._Run.evaluate

    def note(self, **options):
        made(self, **options)
        references.append(weakref.ref(self.ref_model))

    def evaluate(self, stage, model):
        assert stage == "start" or [reference() for reference in references] == [None]
        asked(self, stage, model)

    monkeypatch.setattr(StreamedTrainer, "__init__", note)
    monkeypatch.setattr(grpo._Run, "evaluate", evaluate)
    train(recipe(lm, pictures, tmp_path / "run", "grpo.beta=0.1", tasks="[toy-word:easy]"))
    assert references


@pytest.mark.parametrize("lora", [(), ("peft={r: 2, target_modules: [q_proj]}",)])
def test_mixed_precision_ends_with_training(lm, pictures, tmp_path, monkeypatch, lora):
    from ssl4rl_core.training import grpo

    computed: dict[str, set[str]] = {}
    evaluate = grpo._Run.evaluate

    def noting(self, stage, model):
        dtypes = computed.setdefault(stage, set())
        head = model.get_output_embeddings()
        handle = head.register_forward_hook(lambda module, inputs, output: dtypes.add(str(output.dtype)))
        evaluate(self, stage, model)
        handle.remove()

    monkeypatch.setattr(grpo._Run, "evaluate", noting)
    changes = ("grpo.bf16=true", "grpo.use_cpu=true", *lora)
    train(recipe(lm, pictures, tmp_path / "run", *changes, tasks="[toy-word:easy]"))
    assert computed == {"start": {"torch.float32"}, "end": {"torch.float32"}}


def test_under_zero_3_a_model_is_loaded_whole_and_the_trainer_is_still_told(lm):
    from transformers.integrations import deepspeed

    from ssl4rl_core.training import models
    from ssl4rl_core.training.recipe import ModelSettings

    class ZeroThree:
        """As TrainingArguments make it, which keep it alive."""

        config: ClassVar = {"zero_optimization": {"stage": 3}}

        def is_zero3(self) -> bool:
            return True

    told = ZeroThree()
    deepspeed.set_hf_deepspeed_config(told)
    try:
        # Told of ZeRO 3, transformers wants the package deepspeed, and leaves each process a part of the weights.
        assert all(weight.numel() for weight in models.load_model(ModelSettings(name=str(lm))).model.parameters())
        assert models.model_without_weights(ModelSettings(name=str(lm))).num_parameters()
        assert deepspeed.is_deepspeed_zero3_enabled()
    finally:
        deepspeed.unset_hf_deepspeed_config()


def test_ctrl_c_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ssl4rl_core.training.grpo.train", interrupted)
    monkeypatch.setattr("ssl4rl_core.cli.train_command.load_recipe", lambda *arguments: None)
    assert cli(["train", "mine.yaml"]) == 130
    assert capsys.readouterr().err == "interrupted: the same command with --resume goes on from the last checkpoint\n"
