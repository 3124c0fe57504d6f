"""What a report says of mixes, curricula, downstream tasks, failures, and of several recipes side by side."""

import json
import re
from pathlib import Path

import pytest
import yaml
from PIL import Image

from ssl4rl_core.cli import run as cli
from ssl4rl_core.training.recipe_groups import by_recipe, differences
from ssl4rl_core.training.report import report
from ssl4rl_core.training.report_tables import outcome_rows, transfer_tables
from ssl4rl_core.training.run_folder import Run, read_runs

CHANCE = {"easy": 0.25, "hard": 1 / 12}


def recipe(seed: int = 0, **changes) -> dict:
    return {
        "model": {"name": f"models/tiny-{seed}"},
        "tasks": [{"task": "rotation", "weight": 1.0, "data": None}],
        "curriculum": {"kind": "uniform", "floor": 0.2},
        "output": f"runs/{seed}",
        "seed": seed,
        **changes,
    }


def result(level: str, stage: str, accuracy: float, **changes) -> dict:
    row = {"task": "rotation", "level": level, "stage": stage, "n": 100, "chance": CHANCE.get(level, 0.1)}
    return {**row, "accuracy": accuracy, "low": max(accuracy - 0.1, 0), "high": min(accuracy + 0.1, 1), **changes}


def downstream(stage: str, accuracy: float) -> dict:
    return result("probe", stage, accuracy, task="digits", source="embedded:digits", downstream=True)


OUTCOMES = {"right": 60, "near": 10, "wrong": 25, "format": 5}


def write_run(path: Path, settings: dict, *, end: float = 0.6, shares=lambda step: 0.5):
    """A run of two levels and a downstream task, as `train` leaves it."""
    (path / "pictures").mkdir(parents=True)
    Image.new("RGB", (30, 30), (200, 30, 30)).save(path / "pictures" / "a-0.png")
    results = [
        *(result(level, stage, accuracy) for level in CHANCE for stage, accuracy in (("start", 0.1), ("format", 0.2))),
        *(result(level, "end", end, outcomes=OUTCOMES) for level in CHANCE),
        *(downstream(stage, accuracy) for stage, accuracy in (("start", 0.1), ("format", 0.12), ("end", end - 0.2))),
    ]
    (path / "results.json").write_text(json.dumps({"runs": results, "config": {"skipped": {}}}))
    with (path / "metrics.jsonl").open("w") as file:
        for step in range(1, 41):
            line = {"step": step, "rewards/answer": step / 50, "rewards/format": 1.0, "seconds": 2.0}
            line |= {"frac_reward_zero_std": 0.5, "completion_length": 7.0}
            for level, share in zip(CHANCE, (shares(step), 1 - shares(step)), strict=True):
                config = f"rotation-{level}"
                line |= {f"rewards/answer/{config}": step / 50, f"rewards/format/{config}": 1.0}
                line |= {f"frac_reward_zero_std/{config}": 0.5, f"completion_length/{config}": 7.0}
                line |= {f"share/{config}": share}
            file.write(json.dumps(line) + "\n")
    (path / "recipe.yaml").write_text(yaml.safe_dump(settings))
    return path


def test_seeds_are_one_recipe_though_the_number_stands_elsewhere_too(tmp_path):
    for seed in (1, 2, 3):
        write_run(tmp_path / f"run-{seed}", recipe(seed, data={"build": "builds/faces-1"}))
    runs = read_runs([tmp_path / f"run-{seed}" for seed in (1, 2, 3)])
    assert [len(group.runs) for group in by_recipe(runs)] == [3]


def failure(number: int, completion: str, *, score: float = 0.0, format_ok: bool = True, near: str = "") -> dict:
    said = {"completion": completion, "score": score, "format_ok": format_ok, "near": near}
    names = {"sample": f"rotation-easy-{number}", "config": "rotation-easy", "stage": "end"}
    return {**names, "question": "<image>\nHow far?", "answer_text": "90", "images": ["pictures/a-0.png"], **said}


def text_of(page: str) -> str:
    """What a reader reads."""
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"<style.*?</style>", "", page, flags=re.DOTALL)).split())


def page_of(*runs: Path) -> str:
    out = runs[0].parent / "page.html"
    report(runs, out)
    return out.read_text(encoding="utf-8")


def titles(page: str) -> list[str]:
    return re.findall(r"<figcaption><h3>([^<]*)", page)


OF_A_CONFIG = ["Answer reward", "Format reward", "Groups without a signal", "Length of a completion"]


def test_each_level_of_a_mix_has_curves_of_its_own_with_its_chance(tmp_path):
    page = page_of(write_run(tmp_path / "run", recipe()))
    assert titles(page) == [*OF_A_CONFIG, *2 * ["Held-out accuracy", *OF_A_CONFIG], "Time of a step"]
    assert re.findall(r'<h3 class="task">([^<]*)', page)[:2] == ["rotation-easy", "rotation-hard"]
    assert page.count("chance 25 %</text>") == 2 and page.count("chance 8.33 %</text>") == 2


def test_shares_are_drawn_where_a_curriculum_changes_them(tmp_path):
    still = page_of(write_run(tmp_path / "still", recipe()))
    moving = page_of(write_run(tmp_path / "moving", recipe(), shares=lambda step: 1 / (1 + step)))
    assert "Shares of a batch" not in still and titles(moving).count("Shares of a batch") == 1
    legend = moving[moving.index("Shares of a batch") :]
    assert re.findall(r"</i>([^<]*)</li>", legend) == ["rotation-easy", "rotation-hard"]


def test_a_run_killed_in_training_has_curves_for_each_config(tmp_path):
    run = write_run(tmp_path / "run", recipe())
    (run / "results.json").unlink()
    page = page_of(run)
    assert re.findall(r'<h3 class="task">([^<]*)', page) == ["rotation-easy", "rotation-hard"]
    assert "Held-out accuracy" not in titles(page) and "chance" not in "".join(re.findall(r"<svg.*?</svg>", page, re.S))


def groups_of(tmp_path: Path, *settings: dict) -> list[list[str]]:
    runs = read_runs([write_run(tmp_path / f"run-{number}", each) for number, each in enumerate(settings)])
    return [[run.name for run in group.runs] for group in by_recipe(runs)]


def test_seeds_of_one_recipe_are_one_group_and_other_recipes_are_not(tmp_path):
    goldilocks = {"kind": "goldilocks", "floor": 0.2}
    settings = [recipe(0), recipe(0, curriculum=goldilocks), recipe(1), recipe(1, curriculum=goldilocks)]
    assert groups_of(tmp_path, *settings) == [["run-0", "run-2"], ["run-1", "run-3"]]


def test_a_path_that_ends_in_another_number_than_the_seed_is_another_model(tmp_path):
    other = recipe(1, model={"name": "models/tiny-7"})
    assert groups_of(tmp_path, recipe(0), other) == [["run-0"], ["run-1"]]


def test_a_recipe_that_is_no_yaml_is_read_from_the_results(tmp_path):
    paths = [write_run(tmp_path / name, recipe()) for name in ("a", "b")]
    for path, floor in zip(paths, (0.1, 0.2), strict=True):
        (path / "recipe.yaml").write_text("{")
        results = json.loads((path / "results.json").read_text())
        results["config"] = {"curriculum": {"floor": floor}, "skipped": {"too long": 3}}
        results["config"]["failed"] = {f"status {floor}": 1}
        (path / "results.json").write_text(json.dumps(results))
    found = differences(by_recipe(read_runs(paths)))
    assert [(each.key, each.values) for each in found] == [("curriculum.floor", ["0.1", "0.2"])]


@pytest.fixture
def sides(tmp_path) -> list[Path]:
    """Two seeds each of two recipes."""
    mixed = [{"task": "rotation", "weight": 3.0, "data": None}, {"task": "jigsaw:easy", "weight": 1.0, "data": None}]
    return [
        write_run(tmp_path / f"{name}-{seed}", recipe(seed, **changes), end=end + seed / 10)
        for name, changes, end in (("alone", {}, 0.4), ("mixed", {"tasks": mixed}, 0.7))
        for seed in (0, 1)
    ]


def test_recipes_stand_side_by_side_with_what_sets_them_apart(sides):
    text = text_of(page_of(*sides))
    assert "alone 2 runs mixed 2 runs" in text
    assert "What the recipes do not agree on tasks rotation rotation × 3, jigsaw:easy Held-out" in text
    assert "rotation-easy chance 25 % 45 % 40 % – 50 % 75 % 70 % – 80 %" in text
    assert "Steps 40 40 Seconds a step 2 2" in text


def test_runs_of_several_recipes_are_never_averaged_together(sides, capsys):
    assert cli(["report", *map(str, sides), "--out", str(sides[0].parent / "page.html")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "rotation-easy, alone: above chance. After training, held-out accuracy is 45 %" in lines[0]
    assert "rotation-easy, mixed: above chance. After training, held-out accuracy is 75 %" in lines[1]
    assert "mean of 4" not in text_of((sides[0].parent / "page.html").read_text())


def transfer(*paths: Path) -> list[tuple[str, str, str]]:
    (table,) = transfer_tables(by_recipe(read_runs(list(paths))))
    assert (table.config, table.chance) == ("digits-probe of embedded:digits", 0.1)
    return [(row.line.name, row.change, row.apart) for row in table.rows]


def test_transfer_is_told_with_its_change_and_whether_the_intervals_overlap(tmp_path):
    strong = write_run(tmp_path / "run-0", recipe(0), end=0.6)
    weak = write_run(tmp_path / "run-1", recipe(1), end=0.4)
    assert transfer(strong) == [("run-0", "+28.0 points", "intervals apart")]
    assert transfer(strong, weak) == [
        ("mean of 2 runs", "+18.0 points (+8.0 to +28.0)", "intervals apart in 1 of 2"),
        ("run-0", "+28.0 points", "intervals apart"),
        ("run-1", "+8.0 points", "intervals overlap"),
    ]
    text = text_of(page_of(strong))
    assert "chance 10 %, n = 100 10 % 0 % – 20 % 12 % 2 % – 22 % 40 % 30 % – 50 % +28.0 points intervals apart" in text


def test_downstream_tasks_stand_under_transfer_alone(tmp_path):
    page = page_of(write_run(tmp_path / "run", recipe()))
    held_out = page[page.index("<h2>Held-out accuracy") : page.index("<h2>Transfer")]
    assert "rotation-easy" in held_out and "digits" not in held_out


def test_failures_are_grouped_with_their_pictures(tmp_path):
    run = write_run(tmp_path / "run", recipe())
    failures = [
        failure(0, "<answer>270</answer>"),
        failure(1, "<answer>120</answer>", near="one step off"),
        failure(2, "ninety", format_ok=False),
        *(failure(number, "<answer>0</answer>", score=0.4) for number in range(3, 12)),
    ]
    (run / "failures.jsonl").write_text("".join(json.dumps(line) + "\n" for line in failures))
    page = page_of(run)
    wrong = page[page.index("What went wrong") : page.index("To do it again")]
    headings = re.findall(r'<h3 class="task"><span class="mark (\w+)">([^<]*)', wrong)
    assert headings == [("format", "Format broken"), ("near", "Nearly right"), ("wrong", "Wrong")]
    assert wrong.count("<article") == 8 == wrong.count('<img src="data:image/png')  # six of the ten that are wrong
    assert "nearly right: one step off" in text_of(wrong) and "wrong, earns 40 %" in text_of(wrong)


def test_without_picked_failures_those_among_the_recorded_samples_are_shown(tmp_path):
    run = write_run(tmp_path / "run", recipe())
    said = [failure(0, "<answer>90</answer>", score=1.0), failure(1, "no", format_ok=False)]
    (run / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in said))
    page = page_of(run)
    wrong = page[page.index("What went wrong") : page.index("Before and after")]
    assert wrong.count("<article") == 1 and "Format broken" in wrong


def test_what_became_of_the_answers_is_counted_over_the_runs_of_a_recipe(sides):
    rows = outcome_rows(by_recipe(read_runs(sides)))
    assert [(row.config, row.recipe) for row in rows][:2] == [("rotation-easy", "alone"), ("rotation-easy", "mixed")]
    assert dict(rows[0].counts) == {group: 2 * count for group, count in OUTCOMES.items()} and rows[0].total == 200
    assert "120 right 20 nearly right 50 wrong 10 format broken" in text_of(page_of(*sides))


def test_a_failure_may_say_anything(tmp_path):
    run = write_run(tmp_path / "run", recipe())
    evil = "</pre><script>alert(1)</script>"
    lines = [failure(0, evil, near=evil), {**failure(1, evil), "images": ["../../secret.png"]}]
    (run / "failures.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"sample": "rot')
    page = page_of(run)
    assert "<script" not in page and "picture missing" in page and "1 unreadable line" in page


def test_many_recipes_may_be_compared(tmp_path):
    paths = [write_run(tmp_path / f"n{n}", recipe(curriculum={"floor": n / 100})) for n in range(12)]
    runs: list[Run] = read_runs(paths)
    assert len(by_recipe(runs)) == 12
    assert text_of(page_of(*paths)).count("curriculum.floor 0.0 0.01 0.02") == 1
