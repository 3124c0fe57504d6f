"""The report of runs: what it says, what it draws, and what a model's output can never do to it."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from ssl4rl_core import Ssl4rlError, UsageError
from ssl4rl_core.cli import run as cli
from ssl4rl_core.pages import percent
from ssl4rl_core.training.curves import Curve, smoothed, steps_chart, window
from ssl4rl_core.training.findings import findings
from ssl4rl_core.training.report import report
from ssl4rl_core.training.run_folder import read_run, read_runs

EVIL = "</pre><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }}"
RESULTS = {
    ("start", 0.0): (0.0, 0.05, 0.0),
    ("format", 0.24): (0.16, 0.34, 1.0),
    ("end", 0.9): (0.81, 0.95, 1.0),
}


def result(stage: str, accuracy: float, low: float, high: float, format_rate: float = 1.0, **changes) -> dict:
    row = {"task": "rotation", "level": "easy", "model": "tiny", "stage": stage, "n": 80, "chance": 0.25}
    return {
        **row,
        "accuracy": accuracy,
        "low": low,
        "high": high,
        "format_rate": format_rate,
        "seconds": 1.5,
        **changes,
    }


def write_run(path: Path, results: list[dict] | None = None, *, steps: int = 40) -> Path:
    """A run as `train` leaves it; results of three stages unless given."""
    (path / "pictures").mkdir(parents=True)
    Image.new("RGB", (30, 30), (200, 30, 30)).save(path / "pictures" / "a-0.png")
    if results is None:
        results = [result(stage, accuracy, *rest) for (stage, accuracy), rest in RESULTS.items()]
    (path / "results.json").write_text(json.dumps({"runs": results, "config": {}}))
    with (path / "metrics.jsonl").open("w") as file:
        for step in range(1, steps + 1):
            metrics = {"step": step, "reward": 0.1 + step / 50, "rewards/answer": step / 50, "rewards/format": 1.0}
            metrics |= {"kl": float("nan"), "entropy": None, "completion_length": 7 + step % 3}
            if step % 5:
                metrics["rewards/answer/rotation-easy"] = step / 50
            file.write(json.dumps(metrics) + "\n")
    said = {"start": EVIL, "format": "<answer>90</answer>", "end": "<answer>180</answer>"}
    lines = [
        {
            "sample": "rotation-easy-0",
            "config": "rotation-easy",
            "stage": stage,
            "question": "<image>\nBy how many degrees?",
            "answer_text": "180",
            "completion": text,
            "score": float(stage == "end"),
            "format_ok": stage != "start",
            "images": ["pictures/a-0.png"],
        }
        for stage, text in said.items()
    ]
    (path / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (path / "recipe.yaml").write_text("model: {name: tiny}\n# <b>kept</b> as it was\n")
    (path / "environment.json").write_text(json.dumps({"python": "3.11", "packages": {"torch": "2.14"}}))
    return path


@pytest.fixture
def run(tmp_path) -> Path:
    return write_run(tmp_path / "run")


@pytest.fixture
def page(run) -> str:
    report([run])
    return (run / "report.html").read_text()


def text_of(page: str) -> str:
    """What a reader reads."""
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"<style.*?</style>", "", page, flags=re.DOTALL)).split())


def test_the_figures_stand_beside_chance_with_their_interval(page):
    text = text_of(page)
    assert "After training, held-out accuracy is 90 % (95 % interval 81 % to 95 %), up from 24 %" in text
    assert "Chance is 25 %: the interval lies above it." in text
    assert "after GRPO 90 % 81 % – 95 % 25 % 100 % 80 1.5" in text


def test_it_says_that_the_format_start_left_accuracy_at_chance(page):
    text = text_of(page)
    assert "The start on the format left accuracy at chance: 24 %" in text
    assert "100 % of the answers are in the right format, up from 0 %" in text


@pytest.mark.parametrize(
    ("results", "verdict", "said"),
    [
        ([result("end", 0.3, 0.2, 0.4)], "not distinguishable from chance", "includes it, so this may be guessing"),
        ([result("end", 0.1, 0.05, 0.2)], "below chance", "the interval lies below it"),
        ([result("start", 0.3, 0.2, 0.4)], "not distinguishable from chance", "Held-out accuracy is 30 %"),
        (
            [result("format", 0.5, 0.4, 0.6), result("end", 0.4, 0.3, 0.5)],
            "above chance",
            "down from 50 % before GRPO",
        ),
        ([result("format", 0.5, 0.4, 0.6)], "above chance", "lifted accuracy above chance, so it taught more"),
        ([result("format", 0.1, 0.0, 0.2)], "below chance", "left accuracy below chance"),
    ],
)
def test_it_says_what_the_intervals_allow_and_no_more(tmp_path, results, verdict, said):
    (finding,) = findings([read_run(write_run(tmp_path / "run", results), "run")])
    assert finding.verdict == verdict
    assert said in " ".join(finding.sentences)


NOTHING = {"accuracy": 0.0, "low": 0.0, "format_rate": 0.0}


@pytest.mark.parametrize(("high", "stage"), [(0.3, "end"), (0.04, "end"), (0.3, "format"), (0.3, "start")])
def test_where_no_completion_keeps_to_the_format_that_is_said_and_not_that_it_guesses(tmp_path, high, stage):
    (finding,) = findings([read_run(write_run(tmp_path / "run", [result(stage, high=high, **NOTHING)]), "run")])
    assert finding.verdict == "no answer in the right format"
    said = " ".join(finding.sentences)
    assert "No completion kept to the format, so there was no answer to score" in said and "cut off" in said
    assert "accuracy is 0 %" in said and "hance is 25 %" in said
    assert "guessing" not in said and "at chance" not in said and "below" not in said
    assert ("The start on the format did not teach it: 0 %" in said) == (stage == "format")


def test_wrong_answers_and_some_in_the_format_are_no_lack_of_answers(tmp_path):
    for number, rate in enumerate((0.1, None)):
        row = result("end", high=0.3, **{**NOTHING, "format_rate": rate})
        (finding,) = findings([read_run(write_run(tmp_path / str(number), [row]), "run")])
        assert finding.verdict == "not distinguishable from chance"
        assert "kept to the format" not in " ".join(finding.sentences)


def test_of_several_runs_those_without_an_answer_are_counted(tmp_path):
    rows = [result("end", high=0.3, **NOTHING), result("end", 0.3, 0.2, 0.4)]
    runs = [read_run(write_run(tmp_path / str(number), [row]), str(number)) for number, row in enumerate(rows)]
    (finding,) = findings(runs)
    assert finding.verdict == "not distinguishable from chance"
    assert "No completion kept to the format in 1 of 2 runs" in " ".join(finding.sentences)


def test_every_accuracy_chart_and_answer_chart_has_its_chance_line_and_rewards_are_never_added(page):
    assert page.count("chance 25 %</text>") == 2  # held-out accuracy, answer reward
    titles = re.findall(r"<figcaption><h3>([^<]*)", page)
    assert titles == ["Held-out accuracy", "Answer reward", "Format reward", "Length of a completion"]


def test_what_a_model_says_is_inert(page):
    assert "<script" not in page and "<img src=x" not in page and "49" not in text_of(page)
    assert "&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in page and "{{ 7 * 7 }}" in page


def test_nothing_is_loaded_from_elsewhere(page):
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert not re.search(r"url\((?!#)", page) and "@import" not in page and "<link" not in page


def test_the_page_has_before_and_after_the_recipe_and_the_versions(page):
    assert page.index("format broken") < page.index(">wrong<") < page.index(">right<")
    assert "# &lt;b&gt;kept&lt;/b&gt; as it was" in page and "ssl4rl train recipe.yaml" in page
    assert "<dt>torch</dt><dd>2.14</dd>" in page
    assert page.count('<img src="data:image/png;base64,') == 1


def test_charts_are_svg_that_a_parser_reads_and_the_same_each_time(run, page):
    charts = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(charts) == 4 and all(ElementTree.fromstring(chart).get("viewBox") for chart in charts)
    report([run])
    assert (run / "report.html").read_text() == page


def test_several_runs_are_shown_each_and_in_their_mean(tmp_path):
    ends = [result("end", 0.9, 0.8, 0.95), result("end", 0.8, 0.7, 0.9), result("end", 0.3, 0.2, 0.4)]
    runs = [write_run(tmp_path / f"seed-{seed}", [end], steps=40 + seed) for seed, end in enumerate(ends)]
    (finding,) = report(runs, tmp_path / "all.html")
    assert finding.verdict == "above chance in 2 of 3 runs"
    assert "67 % in the mean of 3 runs (30 % to 90 %)" in finding.sentences[0]
    text = text_of((tmp_path / "all.html").read_text())
    assert "mean of 3 runs 67 % 30 % – 90 % 25 % 100 % 3 × 80" in text
    assert all(f"seed-{seed} " in text for seed in range(3))


def test_a_folder_named_twice_is_one_run(run, tmp_path):
    (finding,) = report([run, run / ".." / run.name], tmp_path / "page.html")
    assert "90 % (95 % interval 81 % to 95 %)" in finding.sentences[0]


def test_runs_in_folders_of_one_name_are_told_apart(tmp_path):
    runs = read_runs([write_run(tmp_path / seed / "run") for seed in ("a", "b")])
    assert [run.name for run in runs] == ["a/run", "b/run"]


def test_a_mix_has_charts_of_its_own_for_each_task(tmp_path):
    other = {"task": "jigsaw", "level": "paper", "chance": 1 / 24}
    results = [result("end", 0.9, 0.8, 0.95), result("end", 0.1, 0.05, 0.2, **other)]
    run = write_run(tmp_path / "run", results)
    report([run])
    page = (run / "report.html").read_text()
    assert page.count("chance 25 %</text>") == 2 and page.count("chance 4.17 %</text>") == 1
    assert "chance 4.17 % to 25 %</text>" in page  # the reward of the whole mix
    assert re.findall(r'<h3 class="task">([^<]*)', page) == ["rotation-easy", "jigsaw-paper"]


def test_a_run_that_was_killed_in_the_middle_of_a_line_is_read_up_to_it(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 41, "rewards/ans')
    report([run])
    assert "1 unreadable line of the logs was left out" in (run / "report.html").read_text()


def test_a_run_without_results_shows_its_training(run):
    for file in ("results.json", "samples.jsonl", "recipe.yaml", "environment.json"):
        (run / file).unlink()
    assert report([run]) == []
    page = (run / "report.html").read_text()
    assert "No results yet" in page and page.count("<svg") == 3


def test_a_step_logged_again_after_a_resume_counts_once(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 3, "rewards/answer": 0.75}) + "\n")
    series = read_run(run, "run").series("rewards/answer")
    assert len(series) == 40 and series[2] == (3.0, 0.75)


def test_a_completion_may_hold_any_character(run):
    said = "one\u2028two\x85three"
    lines = [{**json.loads(line), "completion": said} for line in (run / "samples.jsonl").read_text().splitlines()]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (run / "samples.jsonl").write_text(text, encoding="utf-8")
    read = read_run(run, "run")
    assert read.lost == 0 and {each.completion for each in read.completions} == {said}


RESULT = {"task": "x", "level": "easy", "n": 1, "accuracy": 1, "low": 0, "high": 1, "chance": 0.5}
STRANGE_STAGE = json.dumps({"runs": [{**RESULT, "stage": "last"}]})


@pytest.mark.parametrize("text", ["{", "[]", '{"runs": [{"task": "x"}]}', '{"runs": 7}', STRANGE_STAGE])
def test_results_that_are_none_give_one_line(run, text, capsys):
    (run / "results.json").write_text(text)
    with pytest.raises(Ssl4rlError, match="run"):
        report([run])
    assert cli(["report", str(run)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (run / "report.html").exists()


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(UsageError, match="holds no run"):
        report([tmp_path])
    with pytest.raises(UsageError, match="needs a run"):
        report([])


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "pictures/none.png", "pictures/broken.png", "."])
def test_a_picture_that_is_elsewhere_or_broken_is_left_out(run, name):
    Image.new("RGB", (9, 9)).save(run.parent / "secret.png")
    (run / "pictures" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    lines = [{**json.loads(line), "images": [name]} for line in (run / "samples.jsonl").read_text().splitlines()]
    (run / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report([run])
    page = (run / "report.html").read_text()
    assert "picture missing" in page and "<img" not in page


def test_the_command_prints_what_it_found_and_where_it_stands(run, capsys):
    assert cli(["report", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "rotation-easy: above chance. After training, held-out accuracy is 90 %" in shown
    assert shown.endswith(f"{run / 'report.html'}\n")


def test_smoothing_keeps_a_line_and_the_number_of_points():
    line = [float(value) for value in range(200)]
    assert smoothed(line)[20:180] == pytest.approx(line[20:180])
    assert len(smoothed(line)) == 200 and window(200) == 11 and smoothed([3.0]) == [3.0]


def test_a_chart_of_one_step_is_drawn():
    assert steps_chart([Curve([[(1.0, 0.5)]])], chance=(0.25, 0.25)).startswith("<svg")


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.925, "93 %"),
        (0.25, "25 %"),
        (0.004, "0.4 %"),
        (0.995, "99.5 %"),
        (1.0, "100 %"),
        (0.9999, "100 %"),
        (0, "0 %"),
    ],
)
def test_shares_are_written_as_people_write_them(share, text):
    assert percent(share) == text


def test_chance_is_written_exactly():
    assert percent(1 / 12, exact=True) == "8.33 %" and percent(0.25, exact=True) == "25 %"
