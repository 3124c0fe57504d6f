"""Accuracy with honest intervals, and the scoring of completions that others made."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from data_builders.builder import build
from data_builders.live import LiveSamples
from data_builders.reader import BuiltSamples
from ssl4rl_core.answers import Angle
from ssl4rl_core.cli import run as cli
from ssl4rl_core.errors import UsageError
from ssl4rl_core.formats import AnswerOnly
from ssl4rl_core.intervals import interval, wilson
from ssl4rl_core.plugins import Registry, registry
from ssl4rl_core.samples import Record, Sample
from ssl4rl_core.tasks import Skip
from ssl4rl_core.testing.memory import MemorySource, synthetic_picture
from ssl4rl_core.training.evaluate import Evaluator, Scored, check_any, chosen, summary
from ssl4rl_core.training.rewards import Judge
from ssl4rl_core.training.score import score, score_rows
from ssl4rl_core.verification import Verdict

ROOT = Path(__file__).parents[1]


def record(item: str, variant: int = 0, degrees: int = 90, level: str = "easy", split: str = "test") -> Record:
    answer = Angle(degrees, 90)
    return Record.model_validate(
        {
            "task": "turn",
            "version": 1,
            "level": level,
            "question": "How far?",
            "parts": "[]",
            "params": "{}",
            "answer": answer.to_json(),
            "answer_text": answer.text(),
            "chance": 0.25,
            "variant": variant,
            "item": item,
            "group": item,
            "split": split,
            "source": "memory",
        }
    )


class Records:
    """A sample set of records; None stands for an item that cannot be asked."""

    configs = ["turn-easy"]

    def __init__(self, train: list[Record | None], test: list[Record | None]) -> None:
        self.kept = {"train": train, "test": test}

    def size(self, config: str, split: str) -> int:
        return len(self.kept[split])

    def sample(self, config: str, split: str, index: int) -> Sample:
        found = self.kept[split][index]
        if found is None:
            raise Skip("broken")
        return Sample(found)


@pytest.mark.parametrize(
    ("right", "trials", "low", "high"),
    # Brown, Cai and DasGupta's formula, worked out with statsmodels' proportion_confint(method="wilson").
    [(0, 10, 0.0, 0.277533), (5, 10, 0.236593, 0.763407), (10, 10, 0.722467, 1.0), (80, 100, 0.711170, 0.866633)],
)
def test_wilson(right, trials, low, high):
    assert wilson(right / trials, trials) == pytest.approx((low, high), abs=1e-6)


def test_distinct_items_that_are_right_or_wrong_get_wilson():
    scores = [1.0] * 80 + [0.0] * 20
    assert interval(scores, [str(n) for n in range(100)]) == wilson(0.8, 100)


def test_questions_about_one_item_do_not_count_as_independent():
    scores = [float(item % 2) for item in range(20) for _ in range(4)]
    items = [str(item) for item in range(20) for _ in range(4)]
    low, high = interval(scores, items)
    narrow_low, narrow_high = wilson(0.5, 80)
    assert low < narrow_low < 0.5 < narrow_high < high
    assert (low, high) == interval(scores, items)
    # The standard error of a share of 20 items is 0.112.
    assert high - low == pytest.approx(2 * 1.96 * 0.112, rel=0.15)


def test_partial_scores_are_bootstrapped():
    low, high = interval([0.4, 0.5, 0.6] * 30, [str(n) for n in range(90)])
    assert 0.47 < low < 0.5 < high < 0.53


def test_a_split_without_samples_says_which_way_the_test_fraction_goes():
    with pytest.raises(UsageError, match="no test samples of turn-easy: take a larger test fraction"):
        check_any(Records([], []), "turn-easy", "test")
    with pytest.raises(UsageError, match="no train samples of turn-easy: take a smaller test fraction"):
        check_any(Records([], []), "turn-easy", "train")


def test_a_config_without_samples_is_told_before_the_model_is_loaded(tmp_path, capsys):
    source = {"a": synthetic_picture(0), "b": synthetic_picture(1)}
    build(["rotation:easy", "rotation:hard"], MemorySource(source), tmp_path / "data", test_fraction=0)
    assert cli(["eval", "--model", str(tmp_path / "no-model"), "--data", str(tmp_path / "data")]) == 2
    assert "there are no test samples of rotation-easy" in capsys.readouterr().err


def test_all_right_is_not_certain():
    low, high = interval([1.0] * 80, [str(n // 4) for n in range(80)])
    assert (low, high) == wilson(1.0, 20)
    assert low < 0.9


def test_summary():
    verdicts = [Verdict(1.0, True, "90"), Verdict(0.0, True, "0"), Verdict(0.0, False, None), Verdict(1.0, True, "90")]
    result = summary([Scored(record(str(n)), verdict) for n, verdict in enumerate(verdicts)], model="m", stage="end")
    assert (result.task, result.level, result.model, result.stage) == ("turn", "easy", "m", "end")
    assert (result.n, result.accuracy, result.chance, result.format_rate) == (4, 0.5, 0.25, 0.75)
    assert (result.low, result.high) == wilson(0.5, 4)
    assert (result.outcomes["right"], result.outcomes["format"], sum(result.outcomes.values())) == (2, 1, 4)


def test_a_limit_is_a_fixed_choice_all_over_the_split():
    samples = Records([], [record(str(n)) for n in range(1000)])
    evaluator = Evaluator(prompter=None, judge=None, limit=50)  # pyright: ignore[reportArgumentType]
    chosen = evaluator.indices(samples, "turn-easy")
    assert len(set(chosen)) == 50
    assert chosen == sorted(chosen) == evaluator.indices(samples, "turn-easy")
    assert chosen[0] < 150 and chosen[-1] > 850
    whole = Evaluator(prompter=None, judge=None)  # pyright: ignore[reportArgumentType]
    assert whole.indices(samples, "turn-easy") == list(range(1000))


def test_a_limit_takes_whole_items_where_samples_are_balanced(tmp_path):
    """Of four answers to each item, a part of an item would have one more often than another."""
    if "rotation" not in registry().tasks:
        pytest.skip("needs the plugin ssl4rl-task-rotation")
    pictures = tmp_path / "photos"
    pictures.mkdir()
    for number in range(12):
        synthetic_picture(number, 60, 60).save(pictures / f"{number}.png")
    options: dict = {"variants": 4, "balance": True, "test_fraction": 0.5}
    live = LiveSamples(f"folder:{pictures}", ["rotation:easy"], **options)
    build(["rotation:easy"], f"folder:{pictures}", tmp_path / "build", **options)
    for samples in (live, BuiltSamples(tmp_path / "build")):
        for limit in (1, 4, 6, 8, 11):
            numbers = chosen(samples, "rotation-easy", "test", limit)
            records = [samples.sample("rotation-easy", "test", number).record for number in numbers]
            assert len(records) == max(limit // 4, 1) * 4
            assert len({Counter(r.answer_text for r in records)[answer] for answer in ("0", "90", "180", "270")}) == 1
            assert numbers == sorted(set(numbers))
    single = LiveSamples(f"folder:{pictures}", ["rotation:easy"], variants=4, test_fraction=0.5)
    assert len(chosen(single, "rotation-easy", "test", 6)) == 6


def test_scoring_decodes_no_picture(tmp_path, monkeypatch):
    if "rotation" not in registry().tasks:
        pytest.skip("needs the plugin ssl4rl-task-rotation")
    (pictures := tmp_path / "photos").mkdir()
    for number in range(4):
        synthetic_picture(number, 60, 60).save(pictures / f"{number}.png")
    build(["rotation:easy"], f"folder:{pictures}", tmp_path / "build", test_fraction=0.5)
    samples = BuiltSamples(tmp_path / "build")
    record = samples.sample("rotation-easy", "train", 0).record
    line = {"completion": f"<answer>{record.answer_text}</answer>", "config": "rotation-easy", "item": record.item}
    (tmp_path / "lines.jsonl").write_text(json.dumps(line))
    monkeypatch.setattr(Image, "open", lambda *args, **options: pytest.fail("a picture was opened"))
    scores = score(tmp_path / "lines.jsonl", Judge(AnswerOnly(), registry()), samples)
    assert [each.scored.verdict.score for each in scores.lines] == [1.0]


@pytest.fixture
def scored(tmp_path):
    """Scores of a file of these lines, against four samples of two items in both splits."""

    def score_lines(*lines: object, samples: Records | None = None):
        path = tmp_path / "lines.jsonl"
        path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
        return score(path, Judge(AnswerOnly(), Registry()), samples, model="m")

    return score_lines


def held() -> Records:
    return Records([record("b/ü.jpg", 0, 180, split="train"), None], [record("a.jpg", 0, 90), record("a.jpg", 1, 270)])


def test_lines_find_their_sample_by_config_item_and_variant(scored):
    scores = scored(
        {"completion": "<answer>90</answer>", "config": "turn-easy", "item": "a.jpg", "id": "q1"},
        {"completion": "<answer>270</answer>", "task": "turn", "level": "easy", "item": "a.jpg", "variant": 1},
        {"completion": "<answer>0</answer>", "config": "turn-easy", "item": "b/ü.jpg", "extra": [1]},
        {"completion": "180", "config": "turn-easy", "item": "b/ü.jpg"},
        samples=held(),
    )
    rows = list(score_rows(scores))
    assert [(row["line"], row["score"], row["format_ok"]) for row in rows] == [
        *[(1, 1.0, True), (2, 1.0, True), (3, 0.0, True), (4, 0.0, False)]
    ]
    assert (rows[0]["id"], rows[0]["given"], rows[3]["given"], rows[3]["answer_text"]) == ("q1", "90", None, "180")
    assert not scores.problems
    [result] = scores.results
    assert (result.n, result.accuracy, result.format_rate, result.chance) == (4, 0.5, 0.75, 0.25)


def test_a_line_with_its_record_needs_no_data(scored):
    inline = record("c", degrees=0).model_dump()
    scores = scored({"completion": "<answer>360</answer>", "record": inline})
    assert [line.scored.verdict.score for line in scores.lines] == [1.0]


def test_a_line_may_name_the_task_beside_its_config_and_have_any_id(scored):
    line = {"completion": "<answer>90</answer>", "config": "turn-easy", "task": "turn", "item": "a.jpg", "id": 1.5}
    [row] = score_rows(scored(line, samples=held()))
    assert (row["config"], row["id"], row["score"]) == ("turn-easy", 1.5, 1.0)
    [problem] = scored({**line, "task": "tu"}, samples=held()).problems
    assert problem.reason == "config turn-easy is not of task tu"


def test_half_a_character_in_a_completion_is_written_as_json_has_it(tmp_path):
    line = {"completion": "<answer>\ud800</answer>", "record": record("a.jpg").model_dump()}
    (tmp_path / "lines.jsonl").write_text(json.dumps(line))
    out = tmp_path / "scores.jsonl"
    assert cli(["score", str(tmp_path / "lines.jsonl"), "--format", "answer_only", "--out", str(out)]) == 0
    assert json.loads(out.read_text(encoding="utf-8"))["given"] == "\ud800"


def test_what_cannot_be_scored_is_counted_and_named(scored):
    good = {"completion": "<answer>90</answer>", "config": "turn-easy", "item": "a.jpg"}
    scores = scored(
        good,
        b"{not json",
        b"\xff\xfe",
        b"[" * 100_000,
        [1, 2],
        {**good, "completion": 7},
        {**good, "item": "nowhere.jpg"},
        {**good, "variant": 2},
        {**good, "config": "turn-hard"},
        {"completion": "x"},
        {**good, "task": "side", "level": "easy"},
        {"completion": "x", "record": {"task": "turn"}},
        b"",
        samples=held(),
    )
    assert [line.line for line in scores.lines] == [1]
    reasons = {problem.line: problem.reason for problem in scores.problems}
    assert sorted(reasons) == list(range(2, 13))
    assert all("\n" not in reason for reason in reasons.values())
    assert "not a JSON object" in reasons[2]
    assert "completion" in reasons[6]
    assert "nowhere.jpg" in reasons[7]
    assert "variant 2" in reasons[8]
    assert "turn-hard" in reasons[9]
    assert "config and item" in reasons[10]
    assert scores.results[0].n == 1


def test_without_data_a_line_that_names_a_sample_says_what_is_missing(scored):
    scores = scored({"completion": "x", "config": "turn-easy", "item": "a.jpg"})
    assert "--data" in scores.problems[0].reason


SHARING = """
import json, sys
from accelerate import PartialState
from data_builders.reader import BuiltSamples
from ssl4rl_core.formats import AnswerOnly
from ssl4rl_core.plugins import registry
from ssl4rl_core.training.evaluate import Evaluator, evaluate
from ssl4rl_core.training.models import load_model
from ssl4rl_core.training.prompts import Prompter
from ssl4rl_core.training.recipe import ModelSettings
from ssl4rl_core.training.rewards import Judge

place = PartialState(cpu=True)
loaded = load_model(ModelSettings(name=sys.argv[1]))
prompter = Prompter(loaded.processor, AnswerOnly(), registry())
asked, kept, generate = [], [], loaded.model.generate
loaded.model.generate = lambda **inputs: (asked.append(len(inputs["input_ids"])), generate(**inputs))[1]
evaluator = Evaluator(prompter, Judge(AnswerOnly(), registry()), 3, 4, shared=True)
results = evaluate(loaded.model, BuiltSamples("build"), ["rotation-easy"], evaluator,
                   each=lambda outcome: kept.append([outcome.index, outcome.completion, len(outcome.sample.images)]))
found = {"asked": asked, "kept": kept, "result": results[0].model_dump(mode="json", exclude={"seconds"})}
open(f"of-{place.num_processes}-{place.process_index}.json", "w").write(json.dumps(found))
"""


def test_processes_share_the_questions_and_all_know_what_one_alone_would(vlm, tmp_path):
    source = MemorySource({name: synthetic_picture(number) for number, name in enumerate("abcdefg")})
    build(["rotation:easy"], source, tmp_path / "build", test_fraction=0.999)
    (tmp_path / "sharing.py").write_text(SHARING)
    for launch in ([], ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]):
        command = [sys.executable, *launch, "sharing.py", str(vlm)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-3000:]
    alone, first, second = (json.loads((tmp_path / f"of-{each}.json").read_text()) for each in ("1-0", "2-0", "2-1"))
    assert (alone["asked"], first["asked"], second["asked"]) == ([3, 3, 1], [3, 1], [3])
    for shared in (first, second):
        assert shared["kept"] == alone["kept"] and shared["result"] == alone["result"]
    assert [images for _, _, images in alone["kept"]] == [1] * 7
