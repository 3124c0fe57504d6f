"""A run keeps, of each config, the first few answers that went wrong in each way at the last stage evaluated."""

from pathlib import Path

import pytest
from PIL import Image

from ssl4rl_core.answers import Angle
from ssl4rl_core.formats import AnswerOnly
from ssl4rl_core.plugins import Registry
from ssl4rl_core.samples import Record, Sample
from ssl4rl_core.training.evaluate import Outcome, Scored, summary
from ssl4rl_core.training.recipe import parse_recipe
from ssl4rl_core.training.report import report
from ssl4rl_core.training.rewards import Judge
from ssl4rl_core.training.run_folder import read_run
from ssl4rl_core.training.run_writer import RunWriter

RIGHT, NEAR, WRONG, BROKEN = "<answer>30</answer>", "<answer>60</answer>", "<answer>180</answer>", "thirty"


def outcome(number: int, completion: str, level: str = "easy") -> Outcome:
    texts = {"task": "turn", "level": level, "question": "<image>\nHow far?", "source": "memory"}
    texts |= {"answer": Angle(30, 30).to_json(), "answer_text": "30", "params": "{}", "parts": '[{"image": 0}]'}
    names = {"item": str(number), "group": str(number), "split": "test"}
    record = Record.model_validate({**texts, **names, "version": 1, "chance": 1 / 12, "variant": 0})
    image = Image.new("RGB", (30, 30), (200, 30, number))
    verdict = Judge(AnswerOnly(), Registry())(record, completion)
    return Outcome(f"turn-{level}", number, Sample(record, (image,)), completion, verdict)


@pytest.fixture
def writer(tmp_path) -> RunWriter:
    text = f"model: m\ndata: {{source: 'folder:x'}}\ntasks: turn\nformat: answer_only\noutput: {tmp_path / 'run'}\n"
    writer = RunWriter(parse_recipe(text))
    writer.begin()
    return writer


def ended(writer: RunWriter, stage: str, outcomes: list[Outcome]) -> None:
    for each in outcomes:
        writer.keep_failure(stage, each)
    scored = [Scored(each.sample.record, each.verdict) for each in outcomes]
    writer.add_results([summary(scored, stage=stage)])


def kept(path: Path) -> list[tuple[str, str, str]]:
    return [(each.sample, each.group, each.near) for each in read_run(path, "run").failures]


def test_a_few_of_each_way_to_go_wrong_are_kept_and_all_are_counted(writer):
    said = [RIGHT, *5 * [BROKEN], NEAR, *5 * [WRONG]]
    ended(writer, "end", [outcome(number, text) for number, text in enumerate(said)])
    groups = [group for _, group, _ in kept(writer.path)]
    assert [groups.count(group) for group in ("right", "format", "near", "wrong")] == [0, 4, 1, 4]
    assert ("turn-easy-6", "near", "one step off") in kept(writer.path)
    [result] = read_run(writer.path, "run").results
    assert result.outcomes == {"right": 1, "near": 1, "wrong": 5, "format": 5} and result.n == 12
    report([writer.path])
    page = (writer.path / "report.html").read_text()
    assert page.count('<img src="data:image/png') == 9 and "nearly right: one step off" in page


def test_failures_of_an_earlier_stage_are_replaced(writer):
    ended(writer, "start", [outcome(0, BROKEN)])
    assert kept(writer.path) == [("turn-easy-0", "format", "")]
    ended(writer, "end", [outcome(0, RIGHT), outcome(1, WRONG)])
    assert kept(writer.path) == [("turn-easy-1", "wrong", "")]


def test_each_config_has_its_own(writer):
    for level in ("easy", "hard"):
        for number in range(6):
            writer.keep_failure("end", outcome(number, WRONG, level))
    writer.add_results([])
    assert [name for name, _, _ in kept(writer.path)] == [
        f"turn-{level}-{n}" for level in ("easy", "hard") for n in range(4)
    ]
