"""Transfer: models on downstream tasks before and after, item by item, with chance and intervals."""

import base64
import csv
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ssl4rl_core import UsageError, registry
from ssl4rl_core.cli import run as cli
from ssl4rl_core.testing.memory import synthetic_source
from ssl4rl_core.testing.sources import noise
from ssl4rl_core.training.evaluate import Evaluator, Outcome
from ssl4rl_core.training.linear_probe import labelled_pictures, probe, vision_features
from ssl4rl_core.training.multiple_choice import ask, open_questions
from ssl4rl_core.training.progress import Display
from ssl4rl_core.training.recipe import ModelSettings
from ssl4rl_core.training.recipe_groups import by_recipe
from ssl4rl_core.training.rewards import Judge
from ssl4rl_core.training.run_folder import read_run, read_runs
from ssl4rl_core.training.transfer import transfer

SILENT = Display(shown=False)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[str]:
    """Two tiny VLMs with other random weights."""
    pytest.importorskip("torch", reason="needs the extra 'train'")
    from ssl4rl_core.testing.tiny import tiny_vlm

    folder = tmp_path_factory.mktemp("models")
    return [str(tiny_vlm(folder / str(seed), ["Question: ?"], hidden=32, layers=1, seed=seed)) for seed in (0, 1)]


class Scripted:
    """An evaluator whose model says what `choose` makes of a question."""

    def __init__(self, choose, limit: int | None = None) -> None:
        answered_as = registry().format("answer_only")
        self._choose, self._format = choose, answered_as
        self._judge = Judge(answered_as, registry())
        self._asked = Evaluator(SimpleNamespace(), self._judge, limit=limit)  # pyright: ignore[reportArgumentType]

    def outcomes(self, model, samples, config):
        from ssl4rl_core import Skip

        for index in self._asked.indices(samples, config):
            try:
                sample = samples.sample(config, "test", index)
            except Skip:
                continue
            text = self._format.wrap(self._choose(sample.record.question))
            yield Outcome(config, index, sample, text, self._judge(sample.record, text))


def lettered(question: str) -> dict[str, str]:
    """Options by letter."""
    return dict(re.findall(r"^([A-Z])\. (.+)$", question, re.MULTILINE))


def seer(question: str) -> str:
    """Knows that the pictures are numbered from 0 and shows it: the option is told by the source's rule."""
    return next(letter for letter, option in lettered(question).items() if int(option) % 4 == 1)


def test_circular_evaluation_counts_a_question_only_if_every_turn_is_right():
    questions = open_questions(synthetic_source(8))
    evaluator: Any = Scripted(lambda question: "A")
    constant = ask(None, questions, evaluator)
    assert set(constant.scores.values()) == {0.0} and constant.format_rate == 1.0
    evaluator = Scripted(seer)
    by_text = ask(None, questions, evaluator)
    # Pictures 1 and 5 of 8 are those whose number the seer names, wherever the option stands.
    assert [item for item, score in by_text.scores.items() if score] == ["picture-1", "picture-5"]
    assert by_text.chance == 0.25 == np.mean(list(by_text.scores.values()))


def test_a_limit_takes_whole_questions():
    questions = open_questions(synthetic_source(8), limit=3)
    heard: list[int] = []
    evaluator: Any = Scripted(seer, limit=questions.most_samples)
    choices = ask(None, questions, evaluator, lambda done, text: heard.append(done))
    assert len(choices.scores) == 3 and heard[-1] == 3 and len(heard) == 3 * 4


def test_the_published_order_is_asked_once_where_the_source_says_so():
    source: Any = synthetic_source(8)
    source.circular = False
    questions = open_questions(source)
    assert questions.turns == 1
    evaluator: Any = Scripted(lambda question: "A")
    choices = ask(None, questions, evaluator)
    assert [item for item, score in choices.scores.items() if score] == ["picture-0", "picture-4"]


def test_a_probe_tells_features_that_hold_the_class_from_those_that_do_not():
    pytest.importorskip("sklearn", reason="needs the extra 'embedded'")
    rng, labels = np.random.default_rng(0), np.arange(300) % 3
    blind = rng.normal(size=(300, 8))
    nothing = probe(blind, labels)
    assert nothing.low < nothing.chance < nothing.high and nothing.chance == pytest.approx(1 / 3)
    told = probe(blind + 3 * np.eye(8)[labels], labels)
    assert told.accuracy > 0.9 and told.low > nothing.high and len(told.by_draw) == 3
    assert told == probe(blind + 3 * np.eye(8)[labels], labels)
    # The same pictures are learnt from, whatever the features: some are shown in all draws, never the same ones.
    assert told.scores.keys() == nothing.scores.keys()


def test_no_class_may_be_shown_whole():
    pytest.importorskip("sklearn", reason="needs the extra 'embedded'")
    with pytest.raises(UsageError, match="12 shots leave nothing to test"):
        probe(np.zeros((24, 2)), np.arange(24) % 2, shots=12)


def test_features_are_of_the_picture_and_not_of_its_batch(models):
    from ssl4rl_core.training.models import load_model

    pytest.importorskip("skimage", reason="needs the extra 'embedded'")
    loaded = load_model(ModelSettings(name=models[0]))
    images = labelled_pictures("faces").images[98:102]
    together = vision_features(loaded, images)
    assert together.shape == (4, 32) and together.dtype == np.float32
    assert np.allclose(together, vision_features(loaded, images, batch_size=1), atol=1e-5)
    assert not np.allclose(together[0], together[1], atol=1e-3)


def test_a_change_is_not_of_the_precision_that_weights_were_saved_in(models, tmp_path, monkeypatch):
    pytest.importorskip("skimage", reason="needs the extra 'embedded'")
    import torch

    from ssl4rl_core.training import transfer as module
    from ssl4rl_core.training.models import load_model

    halved = load_model(ModelSettings(name=models[0], dtype="bfloat16"))
    for part in halved:
        part.save_pretrained(tmp_path / "halved")
    computed: list[Any] = []

    def noted(settings: ModelSettings) -> Any:
        loaded = load_model(settings)
        computed.append(loaded.model.dtype)
        return loaded

    monkeypatch.setattr(module, "load_model", noted)
    names = str(tmp_path / "halved"), models[0]
    transfer([ModelSettings(name=name, dtype="auto") for name in names], ["faces"], display=SILENT)
    assert computed == [torch.float32] * 2
    computed.clear()
    twice = [ModelSettings(name=str(tmp_path / "halved"), dtype="auto")] * 2
    assert transfer(twice, ["faces"], display=SILENT)[1].change == 0.0 and set(computed) == {torch.bfloat16}


def test_two_models_are_compared_item_by_item(models):
    pytest.importorskip("skimage", reason="needs the extra 'embedded'")
    settings = [ModelSettings(name=name) for name in (models[0], models[0], models[1])]
    first, again, other = transfer(settings, ["faces?shots=5"], display=SILENT)
    assert (first.task, first.level, first.source, first.n) == ("linear-probe", "5-shot", "faces", 200)
    assert [each.stage for each in (first, again, other)] == ["start", "end", "end"] and first.downstream
    assert first.change is None and again.change == 0.0 and again.accuracy == first.accuracy
    assert other.change == pytest.approx(other.accuracy - first.accuracy)
    assert again.change_low is not None and again.change_low < 0
    assert first.chance == 0.5 < first.low <= np.mean(first.by_draw) <= first.high


def mmbench(folder: Path) -> Path:
    path = folder / "MMBench_DEV_EN.tsv"
    with path.open("w", newline="", encoding="utf-8") as file:
        picture = base64.b64encode(noise(1, side=56)).decode()
        rows = [(number, "Which?", "one", "two", "AB"[number % 2], picture) for number in range(3)]
        header = ("index", "question", "A", "B", "answer", "image")
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows([header, *rows])
    return path


def test_the_command_line_shows_a_table_and_json_and_writes_a_runs_results(models, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")  # nothing is folded
    pytest.importorskip("skimage", reason="needs the extra 'embedded'")
    where, out = mmbench(tmp_path), tmp_path / "results.json"
    options = ["--downstream", "faces", "--downstream", f"mmbench:{where}", "--max-tokens", "4", "--out", str(out)]
    assert cli(["transfer", "--model", models[0], "--model", models[1], *options, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["task"], row["model"]) for row in rows] == [
        (task, model) for task in ("linear-probe", "multiple-choice") for model in models
    ]
    assert (rows[2]["level"], rows[2]["n"], rows[2]["chance"]) == ("circular", 3, 0.5)
    assert (rows[2]["accuracy"], rows[2]["format_rate"]) == (0.0, 0.0)
    run = read_run(tmp_path, "transfer")
    assert [result.downstream for result in run.results] == [True] * 4
    once = ["--downstream", f"mmbench:{where}?circular=false", "--max-tokens", "4"]
    assert cli(["transfer", "--model", models[0], "--model", models[1], *once]) == 0
    table = " ".join(capsys.readouterr().out.split())
    assert "0.0% (0.0% to" in table and "50.0%" in table and "publish" in table
    assert "the paper's" in table and "+7.39 %" in table


def test_eval_asks_a_benchmark_and_training_refuses_it(models, tmp_path, capsys):
    from ssl4rl_core.configs import check_rewards

    asked = ["--source", f"mmbench:{mmbench(tmp_path)}", "--task", "multiple-choice:published", "--max-tokens", "2"]
    assert cli(["eval", "--model", models[0], *asked, "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["n"], row["chance"], row["downstream"]) == (3, 0.5, True)
    with pytest.raises(UsageError, match="multiple-choice is a downstream task and never a reward"):
        check_rewards(["multiple-choice-published"])


def test_eval_measures_a_model_downstream_as_transfer_does(models, tmp_path, capsys):
    pytest.importorskip("skimage", reason="needs the extra 'embedded'")
    downstream = ["--downstream", "faces?shots=5", "--downstream", f"mmbench:{mmbench(tmp_path)}"]
    options = [*downstream, "--max-tokens", "2", "--limit", "2", "--json"]

    def rows(*command: str) -> list[dict[str, Any]]:
        assert cli([*command, *options]) == 0
        return [row | {"seconds": 0} for row in json.loads(capsys.readouterr().out)]

    alone = rows("eval", "--model", models[1])
    assert [(row["task"], row["model"], row["stage"]) for row in alone] == [
        (task, models[1], "end") for task in ("linear-probe", "multiple-choice")
    ]
    assert alone == rows("transfer", "--model", models[1])
    out = tmp_path / "results.json"
    both = rows("eval", "--model", models[1], "--before", models[0], "--out", str(out))
    assert both == rows("transfer", "--model", models[0], "--model", models[1])
    assert [(row["model"], row["change"] is None) for row in both[:2]] == [(models[0], True), (models[1], False)]
    assert [row["accuracy"] for row in json.loads(out.read_text())["runs"]] == [row["accuracy"] for row in both]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--data", "built"], "--data: --downstream brings questions and labels of its own"),
        (["--source", "folder:photos", "--task", "rotation"], "--source, --task: --downstream brings"),
        (["--split", "train"], "--split: --downstream brings"),
        (["--seed", "1", "--max-side", "64"], "--seed, --max-side: --downstream brings"),
        (["--balance"], "--balance: --downstream brings"),
        (["--endpoint", "http://localhost:1/v1"], "--endpoint: --downstream takes a model from a folder or the Hub"),
        (["--retries", "2"], "--retries: --downstream takes"),
        (["--dtype", "int4"], "--dtype: "),
    ],
)
def test_what_does_not_go_with_downstream_is_refused_in_one_line(options, says, capsys):
    assert cli(["eval", "--model", "none", "--downstream", "digits", *options]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and says in shown and shown.count("\n") == 1


def test_models_are_compared_on_pictures_of_one_size(models, tmp_path, capsys):
    pytest.importorskip("skimage", reason="needs the extra 'embedded'")
    trained = shutil.copytree(models[0], tmp_path / "trained")
    settings = json.loads((trained / "processor_config.json").read_text())
    settings["image_processor"]["size"] = {"shortest_edge": 784, "longest_edge": 1568}
    (trained / "processor_config.json").write_text(json.dumps(settings))
    line = ["eval", "--model", str(trained), "--before", models[0], "--downstream", "faces", "--json"]
    assert cli(line) == 2
    said = capsys.readouterr().err
    assert f"{models[0]} sees pictures of 3" in said and f"{trained} of 784 to 1568 pixels" in said
    mend = re.findall(r"--\w+-pixels \d+", said)
    assert mend == ["--min-pixels 784", "--max-pixels 1568"]
    assert cli([*line, *" ".join(mend).split()]) == 0
    before, after = json.loads(capsys.readouterr().out)
    assert before["accuracy"] == after["accuracy"] and after["change"] == 0.0


@pytest.mark.parametrize("command", [["eval"], ["transfer"]])
def test_a_probe_asks_no_questions(command, capsys):
    pytest.importorskip("skimage", reason="needs the extra 'embedded'")
    line = [*command, "--model", "none", "--downstream", "faces"]
    assert cli([*line, "--format", "think_answer", "--limit", "3", "--max-tokens", "7", "--batch-size", "2"]) == 2
    said = capsys.readouterr().err
    assert "a probe asks no questions: leave out --format, --batch-size, --max-tokens, --limit\n" in said


def test_the_format_is_looked_up_before_any_model_is_loaded(tmp_path, capsys):
    pytest.importorskip("skimage", reason="needs the extra 'embedded'")
    downstream = ["--downstream", "faces", "--downstream", f"mmbench:{mmbench(tmp_path)}"]
    assert cli(["transfer", "--model", "none", *downstream, "--format", "nonsense"]) == 2
    assert "no format 'nonsense'" in capsys.readouterr().err


def test_evaluations_of_other_models_are_other_groups(models, tmp_path):
    asked = ["--source", f"mmbench:{mmbench(tmp_path)}", "--task", "multiple-choice:published", "--max-tokens", "2"]
    downstream = ["--downstream", f"mmbench:{mmbench(tmp_path)}", "--max-tokens", "2"]

    def out(*line: str) -> Path:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        assert cli([*line, "--out", str(folder / "results.json")]) == 0
        return folder

    def groups(*folders: Path) -> list[int]:
        return [len(group.runs) for group in by_recipe(read_runs(list(folders)))]

    first, again, other = (out("eval", "--model", model, *asked) for model in (models[0], models[0], models[1]))
    assert groups(first, again, other) == [2, 1]
    assert groups(first, out("eval", "--model", models[0], *asked, "--format", "answer_only")) == [1, 1]
    assert groups(first, out("eval", "--model", models[0], *asked, "--max-pixels", "3198")) == [1, 1]
    assert groups(*(out("transfer", "--model", model, *downstream) for model in models)) == [1, 1]


def test_a_model_before_training_is_for_downstream_tasks_alone(capsys):
    assert cli(["eval", "--model", "none", "--before", "other", "--data", "built"]) == 2
    assert "--before: this belongs to downstream tasks" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("downstream", "says"),
    [
        ("digts", "no downstream task 'digts': write digits, faces or a source"),
        ("digits?shot=3", "a probe takes shots=N alone"),
        ("faces?shots=100", "100 shots leave nothing to test"),
        ("embedded:faces", "embedded:faces holds no item of kind question"),
        ("mmbench:nowhere.tsv", "no file nowhere.tsv"),
    ],
)
def test_what_is_wrong_is_one_line(models, downstream, says):
    pytest.importorskip("skimage", reason="needs the extra 'embedded'")
    with pytest.raises(UsageError, match=says):
        transfer([ModelSettings(name=models[0])], [downstream], display=SILENT)


def test_a_model_without_eyes_is_refused(tmp_path, capsys):
    pytest.importorskip("torch", reason="needs the extra 'train'")
    from ssl4rl_core.testing.tiny import tiny_lm

    name = str(tiny_lm(tmp_path / "lm", ["?"], hidden=32, layers=1))
    with pytest.raises(UsageError, match="the model sees no pictures: use a VLM"):
        transfer([ModelSettings(name=name)], ["faces"], display=SILENT)
    asked = ["--source", f"mmbench:{mmbench(tmp_path)}", "--task", "multiple-choice:published"]
    assert cli(["eval", "--model", name, *asked, "--max-pixels", "784"]) == 2
    assert "its processor takes no min_pixels or max_pixels" in capsys.readouterr().err
