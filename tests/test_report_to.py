"""What TRL's `report_to` sends to trackers: the metrics of each config, under the names that metrics.jsonl has."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssl4rl_core.training.grpo import train
from ssl4rl_core.training.progress import Display
from ssl4rl_core.training.recipe import parse_recipe
from ssl4rl_core.training.run_folder import read_run
from ssl4rl_core.training.trainer import OF_CONFIGS

nx = pytest.importorskip("networkx", reason="needs the extra 'graph'")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
EASY = "attribute-mask:easy?candidates=2&form=adjacency&neighbours=2"
ROOT = Path(__file__).parents[1]
CONFIG = "attribute-mask-easy-candidates-2-form-adjacency-neighbours-2"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """A graph of two communities, and a model."""
    from ssl4rl_core.testing.tiny import tiny_lm

    folder = tmp_path_factory.mktemp("inputs")
    graph = nx.Graph()
    graph.add_nodes_from((n, {"text": "birds" if n < 12 else "ships"}) for n in range(24))
    graph.add_edges_from((n, (n + step) % 12 + n // 12 * 12) for n in range(24) for step in (1, 3))
    nx.write_graphml(graph, folder / "graph.graphml")
    tiny_lm(folder / "lm", ["X: - 12 Which one? Give the answer, one of A, B, inside <answer>."], hidden=32, layers=1)
    return folder


def recipe(inputs: Path, output: Path, report_to: str) -> str:
    return f"""
model: {inputs / "lm"}
data: {{source: "networkx:{inputs / "graph.graphml"}", test_fraction: 0.5}}
tasks: {EASY}
format: answer_only
grpo:
  max_steps: 2
  per_device_train_batch_size: 4
  num_generations: 2
  max_completion_length: 4
  gradient_checkpointing: false
  save_steps: 2
  report_to: {report_to}
evaluate: {{limit: 4, stages: [end]}}
output: {output}
"""


def trained(inputs: Path, output: Path, report_to: str) -> Path:
    return train(parse_recipe(recipe(inputs, output, report_to)), display=Display(shown=False))


def of_configs(line: dict) -> dict:
    return {key: value for key, value in line.items() if key.startswith(OF_CONFIGS) and key.endswith(CONFIG)}


def test_trainer_logs_hold_the_metrics_of_each_config_under_their_names(inputs, tmp_path):
    out = trained(inputs, tmp_path / "run", "none")
    state = json.loads((out / "checkpoints" / "checkpoint-2" / "trainer_state.json").read_text())
    kept = read_run(out, "run").metrics
    assert [set(of_configs(line)) for line in kept] == 2 * [{name + CONFIG for name in OF_CONFIGS}]
    assert [of_configs(line) for line in state["log_history"][:2]] == [of_configs(line) for line in kept]


def test_tensorboard_shows_them(inputs, tmp_path, monkeypatch):
    reader = "tensorboard.backend.event_processing.event_accumulator"
    events_of = pytest.importorskip(reader, reason="needs tensorboard, which no extra brings").EventAccumulator
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    trained(inputs, tmp_path / "run", "tensorboard")
    [events] = {path.parent for path in (tmp_path / "events").rglob("events.*")}
    shown = events_of(str(events)).Reload()
    assert {f"train/{name}{CONFIG}" for name in OF_CONFIGS} <= set(shown.Tags()["scalars"])
    assert len(shown.Scalars(f"train/rewards/answer/{CONFIG}")) == 2


TRACKIO = """
import json, sys
from ssl4rl_core.cli import main
sys.argv = ["ssl4rl", "train", sys.argv[1]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
import trackio
[run] = trackio.Api().runs("pages")
print(json.dumps(trackio.SQLiteStorage.get_logs("pages", run.name), default=str))
"""


def test_trackio_shows_them(inputs, tmp_path):
    if importlib.util.find_spec("trackio") is None:
        pytest.skip("needs trackio, which no extra brings")
    (tmp_path / "recipe.yaml").write_text(recipe(inputs, tmp_path / "run", "trackio\n  project: pages"))
    # In a process of its own: it takes its folder from the environment when it is imported, as transformers does early.
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio")}
    command = [sys.executable, "-c", TRACKIO, str(tmp_path / "recipe.yaml")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in json.loads(done.stdout.splitlines()[-1]) if f"train/share/{CONFIG}" in line]
    assert len(lines) == 2
    assert all({f"train/{name}{CONFIG}" for name in OF_CONFIGS} <= set(line) for line in lines)


def test_wandb_shows_them(inputs, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="needs wandb, which no extra brings")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    out = trained(inputs, tmp_path / "run", "wandb")
    try:
        last = read_run(out, "run").metrics[-1]
        shown = {f"train/{name}{CONFIG}": wandb.run.summary[f"train/{name}{CONFIG}"] for name in OF_CONFIGS}
        assert shown == {f"train/{name}": value for name, value in of_configs(last).items()}
    finally:
        wandb.finish()
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
