"""`ssl4rl_core.load` and `rewards`: a build as TRL's own trainer takes it."""

from pathlib import Path
from typing import Any

import pytest

import ssl4rl_core
from data_builders import BuiltSamples, build
from data_builders.exporters import export
from ssl4rl_core import Choice, Draft, ImageItem, ImageParams, Task, UsageError, register, registry
from ssl4rl_core.samples import Record
from ssl4rl_core.testing.memory import synthetic_source


class Said(Task[ImageItem, ImageParams]):
    """A question without pictures."""

    name, version = "toy-said", 1
    levels = {"easy": ImageParams()}
    prompt = "Somebody says {word}. Left or right?"

    def transform(self, item, params, rng, view):
        side = str(rng.choice(["left", "right"]))
        return Draft(answer=Choice(side, ["left", "right"]), fields={"word": f"<image> <video> {item.id}"})

    def chance(self, params):
        return 1 / 2


class Label(Said):
    """As above, with a label for its answer."""

    name, reward = "toy-label", False


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    if "toy-said" not in registry().tasks:
        register(Said)
    out = tmp_path_factory.mktemp("build")
    source = synthetic_source(12)
    build(
        ["rotation:easy", "position:easy", "toy-said:easy"], source, out, test_fraction=0.3, max_side=56, shard_size=5
    )
    return out


def test_rows_are_the_samples_of_the_build(built):
    rows, samples = ssl4rl_core.load(built, "rotation-easy", split="test"), BuiltSamples(built)
    assert len(rows) == samples.size("rotation-easy", "test") > 0
    for index in range(len(rows)):
        row, sample = rows[index], samples.sample("rotation-easy", "test", index)
        assert Record(**{name: row[name] for name in Record.model_fields}) == sample.record
        assert [image.tobytes() for image in row["images"]] == [image.tobytes() for image in sample.images]
        [message] = row["prompt"]
        assert message["role"] == "user"
        assert message["content"][:-1] == sample.record.content()
        assert message["content"][-1]["text"].endswith("inside <answer> </answer>.")


def test_nothing_is_read_before_its_row_is_and_a_group_shares_its_pictures(built, monkeypatch):
    read = []
    sample = BuiltSamples.sample
    monkeypatch.setattr(BuiltSamples, "sample", lambda *key: read.append(key[1:]) or sample(*key))
    rows = ssl4rl_core.load(built, "rotation-easy")
    assert read == [] and len(rows) == BuiltSamples(built).size("rotation-easy", "train")
    group = rows.shuffle(seed=1)[[3, 3, 3, 4]]
    assert len(read) == 2
    assert group["images"][0][0] is group["images"][2][0] is not group["images"][3]


def test_all_configs_come_one_after_the_other(built):
    rows = ssl4rl_core.load(built, format="boxed")
    assert set(rows.column_names) == {"number", "prompt", "images", *Record.model_fields}
    assert list(dict.fromkeys(rows["task"])) == ["rotation", "position", "toy-said"]
    assert list(dict.fromkeys(ssl4rl_core.load(built, "position")["task"])) == ["position"]


def test_a_question_without_pictures_is_plain_text(built):
    row = ssl4rl_core.load(built, "toy-said-easy", format="answer_only")[0]
    assert row["images"] == []
    assert row["prompt"][0]["content"].startswith("Somebody says <image> <video> picture-")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"config": "rotation-hrd"}, "has no 'rotation-hrd'"),
        ({"format": "boxd"}, "did you mean 'boxed'"),
        ({"split": "dev"}, "no dev samples"),
    ],
)
def test_what_is_not_there(options, said, built):
    with pytest.raises(UsageError, match=said):
        ssl4rl_core.load(built, **options)


def test_a_downstream_task_is_given_to_be_evaluated_and_never_to_be_trained_on(tmp_path):
    for task in (Said, Label):
        if task.name not in registry().tasks:
            register(task)
    build(["toy-said:easy", "toy-label:easy"], synthetic_source(12), tmp_path, test_fraction=0.3)
    assert len(ssl4rl_core.load(tmp_path, "toy-said")) > 0 < len(ssl4rl_core.load(tmp_path, split="test"))
    for config in ("toy-label", None):
        with pytest.raises(UsageError, match="toy-label is a downstream task and never a reward"):
            ssl4rl_core.load(tmp_path, config)


def scored(rows, texts: list[str], **options):
    columns = {name: list(rows[name]) for name in Record.model_fields}
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    answer, format = ssl4rl_core.rewards(**options)
    given = {"prompts": [], "completions": completions, "completion_ids": [[]] * len(texts), "trainer_state": None}
    return answer(**given, **columns), format(**given, **columns)


def test_rewards_read_the_record_from_the_columns(built, tmp_path):
    from datasets import load_dataset

    export("parquet", built, tmp_path / "parquet", tasks=["rotation-easy"], splits=["train"])
    stored = load_dataset("parquet", data_files=str(tmp_path / "parquet/**/*.parquet"), cache_dir=str(tmp_path / "c"))
    for rows in (ssl4rl_core.load(built, "rotation-easy"), stored["train"]):
        rows = rows.select(range(3))
        right = rows[0]["answer_text"]
        wrong = "90" if rows[2]["answer_text"] != "90" else "180"
        texts = [f"\\boxed{{{right}}}", right, f"\\boxed{{{wrong}}}"]
        assert scored(rows, texts, format="boxed") == ([1, 0, 0], [1, 0, 1])


def test_with_a_processor_the_completion_is_read_from_its_tokens(built):
    from ssl4rl_core.testing.tiny import CHAT_TEMPLATE, tiny_tokenizer

    tokenizer = tiny_tokenizer(["left", "right", "Left or right?"])
    opening = "<|im_start|>assistant\n"
    tokenizer.chat_template = CHAT_TEMPLATE.replace(opening, f"{opening}<think>\n")
    # As a model may hold them: TRL's text of the completion would be without its tags.
    tokenizer.add_special_tokens({"additional_special_tokens": ["</think>", "<answer>", "</answer>"]})
    row = ssl4rl_core.load(built, "toy-said-easy")[0]
    text = f"so</think><answer>{row['answer_text']}</answer>"
    ids = [*tokenizer.encode(text), tokenizer.eos_token_id]
    columns = {name: [row[name]] for name in Record.model_fields}
    answer, format = ssl4rl_core.rewards(processor=tokenizer)
    given = {"completions": [[{"role": "assistant", "content": "left"}]], "completion_ids": [ids], **columns}
    assert (answer(**given), format(**given)) == ([1], [1])


@pytest.mark.parametrize("kind", ["vlm", "lm"])
def test_two_steps_of_plain_trl(kind, built, tmp_path):
    from trl import GRPOConfig, GRPOTrainer  # pyright: ignore[reportPrivateImportUsage]

    from ssl4rl_core.testing.tiny import tiny_lm, tiny_vlm

    config = "rotation-easy" if kind == "vlm" else "toy-said-easy"
    rows = ssl4rl_core.load(built, config, format="answer_only")
    words = [*rows["question"], "Give only the final answer, inside <answer> </answer>."]
    if kind == "vlm":
        tiny_vlm(tmp_path / "model", words, pixels=28, hidden=32, layers=1)
    else:
        tiny_lm(tmp_path / "model", words, hidden=32, layers=1)
    seen: list[tuple[str, float]] = []

    class Spy:
        """The reward `answer`, with what it was given and gave."""

        __name__ = "answer"

        def __call__(self, **given):
            scores = answer(**given)
            seen.extend(zip(given["answer_text"], scores, strict=True))
            return scores

    answer, format = ssl4rl_core.rewards("answer_only")
    functions: Any = [Spy(), format]
    settings = GRPOConfig(
        output_dir=str(tmp_path / "run"),
        max_steps=2,
        per_device_train_batch_size=4,
        num_generations=2,
        max_completion_length=4,
        reward_weights=[1.0, 0.1],
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        bf16=False,
        use_cpu=True,
    )
    trainer = GRPOTrainer(str(tmp_path / "model"), reward_funcs=functions, args=settings, train_dataset=rows)
    trainer.train()
    assert trainer.state.global_step == 2 and len(seen) == 8
    logged = [line for line in trainer.state.log_history if "reward" in line]
    assert {"rewards/answer/mean", "rewards/format/mean", f"rewards/format/{config}"} <= logged[0].keys()
