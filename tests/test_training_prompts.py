"""What training shows a model: the prompts of a group, and what the start on the format has it say."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ssl4rl_core import Choice, registry
from ssl4rl_core.errors import UsageError
from ssl4rl_core.formats import AnswerOnly, ThinkAnswer
from tests.training_toys import recipe

os.environ.setdefault("HF_HUB_OFFLINE", "1")
pytestmark = pytest.mark.usefixtures("toy_tasks")


def test_a_group_shares_one_conversation_with_the_same_pictures(vlm, pictures):
    rows = _rows(vlm, pictures)
    assert len(rows) == 8
    assert len({id(row["prompt"]) for row in rows}) == 2
    pictures_of = [row["prompt"][0]["content"][0]["image"] for row in rows]
    assert len({id(picture) for picture in pictures_of}) == 2


def _rows(vlm: Path, pictures: Path) -> list[dict]:
    from ssl4rl_core.training.data import open_data
    from ssl4rl_core.training.models import load_model
    from ssl4rl_core.training.prompts import Prompter
    from ssl4rl_core.training.stream import Stream
    from ssl4rl_core.training.trainer import rows

    made = recipe(vlm, pictures, pictures)
    mix = open_data(made.data, made.tasks)
    stream = Stream(mix.samples, mix.weights)
    prompter = Prompter(load_model(made.model).processor, AnswerOnly(), registry())
    return rows(stream, prompter, stream.references(0, 2), [0, 0, 0, 0, 1, 1, 1, 1])


def test_the_format_start_never_sees_the_right_answer(vlm, pictures):
    from ssl4rl_core.training.data import open_data
    from ssl4rl_core.training.format_start import random_target
    from ssl4rl_core.training.models import load_model
    from ssl4rl_core.training.prompts import Prompter

    made = recipe(vlm, pictures, pictures)
    samples = open_data(made.data, made.tasks).samples
    prompter = Prompter(load_model(made.model).processor, AnswerOnly(), registry())
    records = [
        samples.sample("toy-shade-easy", "train", n).record for n in range(samples.size("toy-shade-easy", "train"))
    ]
    assert len({each.answer_text for each in records}) == 2

    # Whatever is right, the same draw gives the same target.
    left, right = (next(each for each in records if each.answer_text == side) for side in ("left", "right"))
    targets = [
        [random_target(each, prompter, registry(), seed=0, draw=draw) for draw in range(400)] for each in (left, right)
    ]
    assert targets[0] == targets[1]
    assert set(targets[0]) == {"<answer>left</answer>", "<answer>right</answer>"}
    assert 160 < targets[0].count("<answer>left</answer>") < 240


def test_answers_are_drawn_evenly_and_whatever_is_right():
    from ssl4rl_core import Angle, Permutation

    for one, other, count in [
        (Angle(0, 90), Angle(270, 90), 4),
        (Permutation([1, 2, 3]), Permutation([3, 1, 2]), 6),
        (Choice("a", "abc"), Choice("b", "abc"), 3),
    ]:
        drawn = [one.draw(np.random.default_rng(seed)) for seed in range(600)]
        assert drawn == [other.draw(np.random.default_rng(seed)) for seed in range(600)]
        shares = Counter(answer.text() for answer in drawn)
        assert len(shares) == count
        assert all(abs(share - 600 / count) < 5 * (600 / count) ** 0.5 for share in shares.values())


def test_only_the_completion_is_learned_in_the_format_start(lm):
    from ssl4rl_core.training.format_start import IGNORED, supervised
    from ssl4rl_core.training.models import load_model
    from ssl4rl_core.training.prompts import Prompter
    from ssl4rl_core.training.recipe import ModelSettings

    prompter = Prompter(load_model(ModelSettings(name=str(lm))).processor, AnswerOnly(), registry())
    asked = [[{"role": "user", "content": "Left?"}], [{"role": "user", "content": "Left or right, which of them?"}]]
    targets = ["<answer>left</answer>", "<answer>right right</answer>"]
    batch = supervised(prompter, asked, targets)
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape
    for row, target in enumerate(targets):
        learned = batch["labels"][row][batch["labels"][row] != IGNORED].tolist()
        assert prompter.decode(learned) == target
        assert learned[-1] == prompter.tokenizer.eos_token_id
    assert batch["attention_mask"][0, 0] == 0 and batch["attention_mask"][1, 0] == 1


def test_a_template_that_opens_the_thinking_is_taken_into_account(lm, tmp_path):
    from transformers import AutoTokenizer

    from ssl4rl_core.training.prompts import Prompter

    tokenizer = AutoTokenizer.from_pretrained(lm)
    tokenizer.chat_template = tokenizer.chat_template.replace("assistant\n", "assistant\n<think>\n")
    assert Prompter(tokenizer, ThinkAnswer(), registry()).prefill == "<think>\n"
    with pytest.raises(UsageError, match=r"begins every completion with <think>.*use think_answer or boxed"):
        Prompter(tokenizer, AnswerOnly(), registry())
    tokenizer.chat_template = None
    with pytest.raises(UsageError, match="no chat template"):
        Prompter(tokenizer, ThinkAnswer(), registry())
