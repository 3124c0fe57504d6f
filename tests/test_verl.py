"""verl: what its dataset reads in an export, and that its reward is the trainer's to the last bit."""

import asyncio
import importlib.util
import io
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from data_builders import BuiltSamples, build
from data_builders.exporters import export
from data_builders.exporters.verl import prompt_text
from ssl4rl_core import Angle, Choice, Draft, ImageItem, ImageParams, Permutation, Subset, Task, register, registry
from ssl4rl_core.errors import UsageError
from ssl4rl_core.integrations import verl as integration
from ssl4rl_core.integrations.verl import GroundTruth, compute_score
from ssl4rl_core.samples import Record
from ssl4rl_core.testing.memory import synthetic_source
from ssl4rl_core.training.rewards import Judge, reward_functions

HOSTILE = "he said <image> and <video>, <audio> <imAge> <image<image>> {braces}"


class Quote(Task[ImageItem, ImageParams]):
    """A question that quotes what looks like verl's marks, beside a picture or without one."""

    name, version = "toy-quote", 1
    levels = {"easy": ImageParams()}
    prompt = "<image>\n{said}\nLeft or right?"

    def transform(self, item, params, rng, view):
        side = str(rng.choice(["left", "right"]))
        return Draft(images=[item.image], answer=Choice(side, ["left", "right"]), fields={"said": HOSTILE})

    def chance(self, params):
        return 1 / 2


class Bare(Quote):
    """As above, without a picture."""

    name, version = "toy-bare", 1
    prompt = "{said}\nLeft or right?"

    def transform(self, item, params, rng, view):
        return Draft(answer=Choice("left", ["left", "right"]), fields={"said": HOSTILE})


class Tag(Bare):
    """As above, with a label for its answer."""

    name, reward = "toy-tag", False


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    for task in (Quote, Bare):
        if task.name not in registry().tasks:
            register(task)
    out = tmp_path_factory.mktemp("build")
    tasks = ["rotation:medium", "jigsaw:easy", "toy-quote:easy", "toy-bare:easy"]
    build(tasks, synthetic_source(10), out, test_fraction=0.3, max_side=56)
    return out


@pytest.fixture(scope="module")
def exported(built, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("export") / "verl"
    export("verl", built, out)
    return out


def rows_of(path: Path) -> list[dict]:
    return pyarrow.parquet.read_table(path).to_pylist()


def test_a_row_is_what_verl_reads(built, exported):
    samples = BuiltSamples(built)
    for split in ("train", "test"):
        rows = rows_of(exported / f"{split}.parquet")
        wanted = [(config, n) for config in samples.configs for n in range(samples.size(config, split))]
        assert len(rows) == len(wanted) > 0
        for index, (row, (config, n)) in enumerate(zip(rows, wanted, strict=True)):
            stored = samples.stored(config, split, n)
            assert list(row) == ["data_source", "prompt", "images", "ability", "reward_model", "extra_info"]
            assert (row["data_source"], row["ability"]) == (f"ssl4rl/{config}", stored.record.task)
            assert tuple(image["bytes"] for image in row["images"]) == stored.pictures
            assert row["reward_model"]["style"] == "rule"
            assert row["extra_info"]["index"] == index and row["extra_info"]["split"] == split
            assert row["extra_info"]["item"] == stored.record.item


def taken_apart(content: str) -> list[str]:
    """As verl does it: https://github.com/volcengine/verl, verl/utils/dataset/rl_dataset.py."""
    return [piece for piece in re.split("(<image>|<video>|<audio>)", content) if piece]


def test_marks_stand_for_pictures_and_for_nothing_else(exported):
    for row in rows_of(exported / "train.parquet"):
        [message] = row["prompt"]
        pieces = taken_apart(message["content"])
        assert message["role"] == "user"
        assert pieces.count("<image>") == len(row["images"])
        assert "<video>" not in pieces and "<audio>" not in pieces
        if row["ability"] in ("toy-quote", "toy-bare"):
            assert "he said <image > and <video >, <audio > <imAge> <image<image >> {braces}" in message["content"]


def test_a_mark_cannot_be_put_together_from_pieces():
    text, image = (lambda said: {"type": "text", "text": said}), {"type": "image"}
    assert prompt_text([text("a <ima"), text("ge>"), image, text("ge> b"), image]) == "a <image ><image>ge> b<image>"
    assert prompt_text([image, image, text("<image><image>")]) == "<image><image><image ><image >"
    assert prompt_text([text("plain")]) == "plain"


def record(answer, **changes) -> Record:
    fields: Any = {"task": "toy", "version": 1, "level": "easy", "question": "?", "parts": "[]", "params": "{}"}
    fields |= {"answer": answer.to_json(), "answer_text": answer.text(), "chance": 0.25, "variant": 0, "item": "a"}
    return Record(**{**fields, "group": "a", "split": "train", "source": "memory", **changes})


ANSWERS = [
    Angle(90, 45),
    Angle(30, 15, partial=True),
    Choice("left", ["left", "right", "upper left"]),
    Permutation([3, 1, 2, 4], partial=True, discount=0.3),
    Permutation([2, 1, 3, 4, 5, 6, 7], partial=True),
    Subset(["A", "C"], options="ABCDEFG"),
]
PIECES = [
    *("<think>", "</think>", "<answer>", "</answer>", "\\boxed{", "}", "\n", " ", "so ", "90", "-270", "45.0 degrees"),
    *(
        "left",
        "the right",
        "3 1 2 4",
        "1 2 3 4",
        "2134567",
        "A, C",
        "A",
        "a and b",
        "\x00",
        "\ud800",
        "٣",
        "<|im_end|>",
    ),
]


def completions(answer, rng: np.random.Generator, count: int):
    """Right, wrong and half right answers in every format, each also broken, and what is put together by chance."""
    formats = list(registry().formats.values())
    for _ in range(count):
        said = answer.text() if rng.random() < 0.3 else answer.draw(rng).text()
        text = formats[int(rng.integers(len(formats)))].wrap(said, "so it is")
        kind = rng.integers(4)
        if kind == 1:
            place, end = sorted(rng.integers(0, len(text) + 1, 2))
            text = text[:place] + text[end:]
        elif kind == 2:
            place = int(rng.integers(len(text) + 1))
            text = text[:place] + PIECES[int(rng.integers(len(PIECES)))] + text[place:]
        elif kind == 3:
            text = "".join(PIECES[int(n)] for n in rng.integers(0, len(PIECES), int(rng.integers(1, 9))))
        yield text
    yield from ("", "<answer>" * 5_000, "<think></think><answer>" + "90 " * 5_000 + "</answer>")


@pytest.mark.parametrize(
    ("format", "prefill"),
    [("think_answer", ""), ("think_answer", "<think>\n"), ("answer_only", ""), ("boxed", ""), ("boxed", "<think>")],
)
def test_the_reward_is_the_trainers_to_the_last_bit(format, prefill):
    """TRL adds up weighted rewards in single precision (`GRPOTrainer._generate_and_score_completions`)."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    texts = [
        (answer, text.removeprefix("<think>") if prefill else text)
        for answer in ANSWERS
        for text in completions(answer, rng, 250)
    ]
    records = [record(answer) for answer, _ in texts]
    judge = Judge(registry().format(format), registry(), prefill=prefill)
    given = {"completion_ids": [text for _, text in texts], "record": records}
    parts = [reward(**given) for reward in reward_functions(judge, str)]
    per_function = torch.tensor(parts, dtype=torch.float32).T
    for weights in ((1.0, 0.1), (1.0, 0.0), (0.7, 0.3)):
        totals = (per_function * torch.tensor(weights, dtype=torch.float32).unsqueeze(0)).nansum(dim=1).tolist()
        fixed: Any = {"format": format, "prefill": prefill, "answer_weight": weights[0], "format_weight": weights[1]}
        truths = {answer: GroundTruth(record=record(answer), **fixed).model_dump_json() for answer in ANSWERS}
        for (answer, text), total, scored, kept in zip(texts, totals, *parts, strict=True):
            result = compute_score("ssl4rl/toy-easy", text, truths[answer], {"index": 0})
            assert result == {"score": total, "answer": scored, "format": kept, "acc": scored}
    assert len(set(totals)) > 5 and set(parts[1]) == {0.0, 1.0}


def test_an_export_is_scored_by_its_rows_alone(built, tmp_path):
    samples = BuiltSamples(built)
    options: Any = {"format": "boxed", "format_weight": 0.25, "tasks": ["jigsaw"], "splits": ["train"]}
    export("verl", built, tmp_path / "out", **options)
    for index, row in enumerate(rows_of(tmp_path / "out/train.parquet")):
        right = samples.stored("jigsaw-easy", "train", index).record.answer_text
        truth = row["reward_model"]["ground_truth"]
        assert "\\boxed{}" in row["prompt"][0]["content"]
        score = compute_score(row["data_source"], f"\\boxed{{{right}}}", truth, extra_info=row["extra_info"])
        assert score == {"score": 1.25, "answer": 1.0, "format": 1.0, "acc": 1.0}
        assert compute_score(row["data_source"], right, truth)["score"] == 0


def test_a_downstream_task_is_exported_to_be_evaluated_and_never_to_be_trained_on(tmp_path):
    for task in (Bare, Tag):
        if task.name not in registry().tasks:
            register(task)
    build(["toy-bare:easy", "toy-tag:easy"], synthetic_source(10), tmp_path / "built", test_fraction=0.3)
    kept: Any = [{"splits": ["test"]}, {"tasks": ["toy-bare"]}]
    for number, options in enumerate(kept):
        export("verl", tmp_path / "built", tmp_path / str(number), **options)
    refused: Any = [{}, {"splits": ["train"]}, {"splits": ["train"], "tasks": ["toy-tag"]}]
    for options in refused:
        with pytest.raises(UsageError, match="toy-tag is a downstream task and never a reward"):
            export("verl", tmp_path / "built", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_verl_may_load_the_file_by_its_path_and_no_torch_with_it(exported):
    truth = rows_of(exported / "test.parquet")[0]["reward_model"]["ground_truth"]
    right = json.loads(truth)["record"]["answer_text"]
    code = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("custom_module_42", {str(Path(integration.__file__))!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
text = "<think>so</think><answer>{right}</answer>"
result = module.compute_score(data_source="", solution_str=text, ground_truth=sys.argv[1], extra_info=None, other=1)
heavy = {{"torch", "transformers", "trl", "verl", "datasets"}} & sys.modules.keys()
print(result["answer"], round(result["score"], 6), heavy or "light")
"""
    done = subprocess.run([sys.executable, "-c", code, truth], capture_output=True, text=True, timeout=120)
    assert done.stdout == "1.0 1.1 light\n", done.stderr


def test_many_threads_may_begin_at_once(exported):
    truths = [row["reward_model"]["ground_truth"] for row in rows_of(exported / "train.parquet")]
    integration._read.cache_clear()
    with ThreadPoolExecutor(8) as threads:
        scores = list(threads.map(lambda truth: compute_score("", "nothing", truth)["score"], truths * 20))
    assert set(scores) == {0.0}


@pytest.mark.parametrize("truth", ["", "{}", "42", '{"record": {}}', '{"format": 1', "\ud800"])
def test_a_ground_truth_of_somebody_else_is_named(truth):
    with pytest.raises(UsageError, match="not a ground truth of ssl4rl"):
        compute_score("openai/gsm8k", "42", truth)


def test_a_task_that_scores_by_itself_and_is_missing_is_named():
    text = Angle(90, 90).to_json()[:-1] + ',"verifier":"far-away"}'
    fixed: Any = {"format": "boxed", "prefill": "", "answer_weight": 1, "format_weight": 0}
    truth = GroundTruth(record=record(Angle(90, 90)).model_copy(update={"answer": text}), **fixed).model_dump_json()
    with pytest.raises(UsageError, match="pip install ssl4rl-task-far-away"):
        compute_score("ssl4rl/far-away-easy", "\\boxed{90}", truth)


@pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="verl is not installed")
def test_verls_own_dataset_and_reward_manager_take_it(exported, tmp_path):
    import torch
    from transformers import AutoProcessor

    from ssl4rl_core.testing.tiny import tiny_vlm

    create = importlib.import_module("omegaconf").OmegaConf.create
    manager_type = importlib.import_module("verl.experimental.reward_loop.reward_manager.naive").NaiveRewardManager
    dataset_type = importlib.import_module("verl.utils.dataset.rl_dataset").RLHFDataset

    rows = rows_of(exported / "train.parquet")
    words = [row["prompt"][0]["content"] for row in rows]
    tiny_vlm(tmp_path / "model", words, pixels=28, hidden=32, layers=1)
    processor: Any = AutoProcessor.from_pretrained(tmp_path / "model")
    config = create(
        {"cache_dir": str(tmp_path), "filter_overlong_prompts": False, "reward": {}, "max_prompt_length": 512}
    )
    dataset = dataset_type(str(exported / "train.parquet"), processor.tokenizer, config, processor)
    assert len(dataset) == len(rows)
    for row, read in zip(rows, (dataset[n] for n in range(len(dataset))), strict=True):
        content = read["raw_prompt"][0]["content"]
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        pictures = [part["image"] for part in parts if part["type"] == "image"]
        assert {part["type"] for part in parts} <= {"image", "text"}
        assert len(pictures) == len(row["images"])
        for picture, image in zip(pictures, row["images"], strict=True):
            assert picture.tobytes() == Image.open(io.BytesIO(image["bytes"])).tobytes()
        assert read["reward_model"] == row["reward_model"]

    class Item:
        batch: Any
        non_tensor_batch: Any

    item, truth = Item(), rows[0]["reward_model"]["ground_truth"]
    right = f"<think></think><answer>{json.loads(truth)['record']['answer_text']}</answer>"
    ids = torch.tensor(processor.tokenizer.encode(right))
    item.batch = {"responses": ids, "attention_mask": torch.ones(len(ids) + 3, dtype=torch.long)}
    item.non_tensor_batch = {"data_source": rows[0]["data_source"], "reward_model": rows[0]["reward_model"]}

    class Batch(list):
        def __getitem__(self, key):
            return Batch(super().__getitem__(key)) if isinstance(key, slice) else super().__getitem__(key)

    async def reward():
        manager = manager_type(config, processor.tokenizer, compute_score)
        return await manager.run_single(Batch([item]))

    given = asyncio.run(reward())
    assert given["reward_extra_info"]["answer"] == given["reward_extra_info"]["format"] == 1.0
    assert given["reward_score"] == pytest.approx(1.1)
