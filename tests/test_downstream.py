"""Downstream tasks are evaluated and never trained on; tasks of a mix may have data of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl4rl_core.cli import run as cli
from ssl4rl_core.errors import UsageError
from ssl4rl_core.training.grpo import train
from ssl4rl_core.training.progress import Display
from ssl4rl_core.training.recipe import parse_recipe
from ssl4rl_core.training.report import report
from ssl4rl_core.training.run_folder import read_run

nx = pytest.importorskip("networkx", reason="needs the extra 'graph'")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).parents[1]
TEXTS = ["This is a part of a graph. X: - 12 Which one? Give only the final answer, one of A, B, inside <answer>."]
EASY = "attribute-mask:easy?candidates=2&form=adjacency&neighbours=2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Pictures, a graph of two communities, names of the classes of the karate club, and two models."""
    from ssl4rl_core.testing.tiny import tiny_lm, tiny_vlm

    folder = tmp_path_factory.mktemp("downstream")
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for number in range(12):
        pixels = rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((32, 32)).save(folder / "photos" / f"{number}.png")
    graph = nx.Graph()
    graph.add_nodes_from((n, {"text": "birds" if n < 12 else "ships"}) for n in range(24))
    graph.add_edges_from((n, (n + step) % 12 + n // 12 * 12) for n in range(24) for step in (1, 3))
    nx.write_graphml(graph, folder / "graph.graphml")
    (folder / "classes").write_text("Red\nGreen\nBlue\nGrey\n")
    tiny_lm(folder / "lm", TEXTS, hidden=32, layers=1)
    tiny_vlm(folder / "vlm", TEXTS, pixels=28, hidden=32, layers=1)
    return folder


def recipe(folder: Path, output: Path, *changes: str, model: str = "lm"):
    text = f"""
model: {folder / model}
data: {{source: "networkx:{folder / "graph.graphml"}", test_fraction: 0.5}}
tasks: {EASY}
format: answer_only
grpo:
  max_steps: 2
  per_device_train_batch_size: 4
  num_generations: 2
  max_completion_length: 4
  gradient_checkpointing: false
  save_strategy: "no"
evaluate: {{limit: 4}}
output: {output}
"""
    return parse_recipe(text, changes=changes)


def karate(folder: Path) -> str:
    return f"pyg:KarateClub?classes={folder / 'classes'}"


def test_downstream_tasks_are_evaluated_beside_the_others_and_marked(folder, tmp_path):
    pytest.importorskip("torch_geometric", reason="needs the extra 'graph'")
    classified = [{"task": f"node-classification:{level}", "source": karate(folder)} for level in ("easy", "medium")]
    asked = [*classified, {"task": "link:easy"}]
    made = recipe(folder, tmp_path / "run", f"evaluate.downstream={json.dumps(asked)}", "grpo.max_steps=1")
    out = train(made, display=Display(shown=False))
    run = read_run(out, "run")
    found = {(each.config, each.stage): each for each in run.results}
    config = "attribute-mask-easy-candidates-2-form-adjacency-neighbours-2"
    levels = [f"node-classification-{level} of pyg:KarateClub" for level in ("easy", "medium")]
    downstream = [*levels, "link-easy of networkx:graph.graphml"]
    assert set(found) == {(name, stage) for name in [config, *downstream] for stage in ("start", "end")}
    assert [each.config for each in run.results if each.downstream] == 2 * downstream
    assert not any("node-classification" in key or "link" in key for line in run.metrics for key in line)
    report([out])
    page = (out / "report.html").read_text()
    assert page.count("never a reward") == len(downstream)


def test_a_downstream_task_is_refused_as_a_reward(folder, tmp_path):
    pytest.importorskip("torch_geometric", reason="needs the extra 'graph'")
    made = recipe(folder, tmp_path / "run", f"data.source={karate(folder)}", "tasks=[node-classification:easy]")
    with pytest.raises(UsageError, match=r"node-classification is a downstream task and never a reward.*downstream"):
        train(made, display=Display(shown=False))
    assert not (tmp_path / "run").exists()


def test_eval_takes_a_downstream_task(folder, tmp_path, capsys):
    pytest.importorskip("torch_geometric", reason="needs the extra 'graph'")
    options = ["--source", karate(folder), "--task", "node-classification:easy", "--format", "answer_only"]
    options += ["--test-fraction", "0.5", "--max-tokens", "2", "--json"]
    assert cli(["eval", "--model", str(folder / "lm"), *options]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["downstream"], row["source"]) == (True, "pyg:KarateClub")
    assert row["chance"] == pytest.approx(13 / 34)  # the largest of the four communities


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["evaluate.downstream=[{task: link:easy, sauce: x}]"], "did you mean 'source'"),
        (["evaluate.downstream=[link:easy, link:easy]"], "link:easy of one source twice"),
        (["evaluate.downstream=[lynk:easy]"], "did you mean 'link'"),
        (["data={build: somewhere}", "evaluate.downstream=link:easy"], "name the source of each task"),
    ],
)
def test_what_is_wrong_is_one_line(folder, tmp_path, changes, says):
    with pytest.raises(UsageError, match=says):
        train(recipe(folder, tmp_path / "run", *changes), display=Display(shown=False))
    assert not (tmp_path / "run").exists()


def test_a_mix_of_pictures_and_a_graph_trains_one_model(folder, tmp_path):
    rotation = {"task": "rotation:easy", "data": {"source": f"folder:{folder / 'photos'}", "test_fraction": 0.5}}
    changes = (f"tasks={json.dumps([rotation, EASY])}", "grpo.per_device_train_batch_size=8")
    run = read_run(train(recipe(folder, tmp_path / "run", *changes, model="vlm"), display=Display(shown=False)), "run")
    configs = {"rotation-easy", "attribute-mask-easy-candidates-2-form-adjacency-neighbours-2"}
    assert {(each.config, each.stage) for each in run.results} == {(c, s) for c in configs for s in ("start", "end")}
    assert len(run.metrics) == 2
    for line in run.metrics:
        assert {f"rewards/answer/{config}" for config in configs} <= set(line)
    assert {each.config: bool(each.images) for each in run.completions} == {c: "rotation" in c for c in configs}


def test_one_task_of_two_sources_is_refused(folder, tmp_path):
    twice = [EASY, {"task": EASY, "data": {"source": f"networkx:{folder / 'graph.graphml'}", "test_fraction": 0.5}}]
    with pytest.raises(UsageError, match="named twice"):
        train(recipe(folder, tmp_path / "run", f"tasks={json.dumps(twice)}"), display=Display(shown=False))


def test_the_example_makes_a_language_model_for_a_build_without_pictures(folder, tmp_path):
    from data_builders.builder import build

    example = [sys.executable, str(ROOT / "examples" / "communities.py"), "--out", str(tmp_path / "c.graphml")]
    subprocess.run([*example, "--communities", "2", "--size", "40"], check=True)
    build([EASY], f"networkx:{tmp_path / 'c.graphml'}", tmp_path / "built", test_fraction=0.3)
    example = [sys.executable, str(ROOT / "examples" / "tiny_model.py"), "--data", str(tmp_path / "built")]
    subprocess.run([*example, "--out", str(tmp_path / "model"), "--hidden", "32", "--layers", "1"], check=True)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (config["model_type"], config["hidden_size"]) == ("qwen3", 32)


def test_a_mix_of_pictures_and_text_trains_on_two_processes(folder, tmp_path):
    rotation = {"task": "rotation:easy", "data": {"source": f"folder:{folder / 'photos'}", "test_fraction": 0.5}}
    changes = (f"tasks={json.dumps([rotation, EASY])}", "grpo.use_cpu=true", "evaluate.stages=[]")
    # A group each: one process has pictures, the other none.
    made = recipe(folder, tmp_path / "run", "grpo.num_generations=4", *changes, model="vlm")
    (tmp_path / "mix.yaml").write_text(made.to_yaml())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "ssl4rl_core.cli", "train", str(tmp_path / "mix.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line["step"] for line in read_run(tmp_path / "run", "run").metrics] == [1, 2]
    logged = [*command, "--overwrite", "--set", "grpo.log_multimodal=true"]
    refused = subprocess.run(logged, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert refused.returncode != 0 and "--set grpo.log_multimodal: in a mix" in refused.stderr
