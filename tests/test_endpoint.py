"""A served model is asked the same questions and scored alike, whatever its server does."""

import asyncio
import base64
import io
import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_builders.live import LiveSamples
from ssl4rl_core.cli import run as cli
from ssl4rl_core.errors import Ssl4rlError, UsageError
from ssl4rl_core.formats import AnswerOnly
from ssl4rl_core.plugins import registry
from ssl4rl_core.samples import Record
from ssl4rl_core.testing.memory import synthetic_picture
from ssl4rl_core.training.endpoint import Endpoint
from ssl4rl_core.training.evaluate import Scored, summary
from ssl4rl_core.training.progress import Display
from ssl4rl_core.training.recipe import DataSettings, TaskSettings
from ssl4rl_core.training.rewards import Judge
from ssl4rl_core.training.run_folder import read_run
from ssl4rl_core.training.standalone import Served, evaluate_endpoint
from tests.chat_server import Reply, completion, serve

pytest.importorskip("openai", reason="needs the extra 'serve'")
if "rotation" not in registry().tasks:
    pytest.skip("needs the plugin ssl4rl-task-rotation", allow_module_level=True)

TASK, PICTURES = "rotation:easy", 24
ERROR = b'{"error": {"message": "out of order", "type": "server_error"}}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(PICTURES):
        synthetic_picture(number, 60, 60).save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def source(folder) -> DataSettings:
    return DataSettings(source=f"folder:{folder}", test_fraction=0.6)


@pytest.fixture(scope="module")
def samples(folder) -> LiveSamples:
    return LiveSamples(f"folder:{folder}", [TASK], test_fraction=0.6)


@pytest.fixture(scope="module")
def records(samples) -> dict[str, Record]:
    """The record of each question, by the picture that its message ends with."""
    every = [samples.sample("rotation-easy", "test", n) for n in range(samples.size("rotation-easy", "test"))]
    return {pixels(sample.images[-1]): sample.record for sample in every}


def pixels(image: Image.Image) -> str:
    return f"{image.size}{np.asarray(image).tobytes().hex()}"


def pictures(body: dict[str, Any]) -> list[Image.Image]:
    urls = [part["image_url"]["url"] for part in body["messages"][0]["content"] if part["type"] == "image_url"]
    return [Image.open(io.BytesIO(base64.b64decode(url.partition(";base64,")[2]))).convert("RGB") for url in urls]


def asked(records, body: dict[str, Any]) -> Record:
    return records[pixels(pictures(body)[-1])]


def right(records):
    return lambda body: completion(f"<answer>{asked(records, body).answer_text}</answer>")


def ask(url: str, source: DataSettings, response_format="answer_only", prefill="", limit=None, **options) -> Served:
    endpoint = Endpoint(url, "m", **{"retries": 2, "timeout": 5.0, **options})
    return evaluate_endpoint(
        endpoint,
        source,
        [TaskSettings(task=TASK)],
        response_format=response_format,
        prefill=prefill,
        limit=limit,
        display=Display(shown=False),
    )


def test_every_question_is_asked_once_with_the_pictures_that_a_model_of_ours_would_see(records, source):
    with serve(right(records)) as server:
        served = ask(server.url, source)
    [result] = served.results
    assert (result.task, result.level, result.model, result.accuracy, result.format_rate) == (
        *("rotation", "easy", "m", 1.0, 1.0),
    )
    assert result.n == len(records) and served.failed == {}
    assert Counter(asked(records, body).item for body in server.bodies) == {r.item: 1 for r in records.values()}
    body = server.bodies[0]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0, 1024)
    content = body["messages"][0]["content"]
    record = asked(records, body)
    kinds = {"image": "image_url"}
    wanted = [kinds.get(part["type"], part["type"]) for part in record.content()]
    assert [part["type"] for part in content] == [*wanted, "text"]
    assert "<answer>" in content[-1]["text"] and "one of 0, 90, 180, 270" in content[-1]["text"]


def test_results_are_those_of_the_same_completions_scored_here(records, source):
    def said(record: Record) -> str:
        number = int.from_bytes(record.item.encode(), "big")
        return ["90", "<answer>90</answer>", f"<answer>{record.answer_text}</answer>"][number % 3]

    with serve(lambda body: completion(said(asked(records, body)))) as server:
        [result] = ask(server.url, source).results
    judge = Judge(AnswerOnly(), registry())
    here = summary([Scored(record, judge(record, said(record))) for record in records.values()], model="m")
    assert 0 < here.accuracy < 1
    assert result.model_copy(update={"seconds": None}) == here


def test_busy_and_broken_servers_are_asked_again(records, source):
    tried: Counter[str] = Counter()

    def answer(body):
        tried[(item := asked(records, body).item)] += 1
        return right(records)(body) if tried[item] > 2 else Reply(429 if tried[item] == 1 else 500, ERROR)

    with serve(answer) as server:
        served = ask(server.url, source)
    assert served.failed == {} and served.results[0].n == len(records)
    assert set(tried.values()) == {3}


BROKEN = [
    b"{",
    b"\xff\xfe\x00",
    b"[1]",
    b"null",
    b'"text"',
    b"[" * 20000,
    b'{"choices": null}',
    b'{"choices": []}',
    b'{"choices": [{"message": {"content": 7}}]}',
    b'{"choices": [{"message": null}]}',
]


def test_what_keeps_failing_is_counted_and_left_out(records, source):
    items = sorted(record.item for record in records.values())
    slow, failing, bad = items[0], items[1], items[2]
    released = threading.Event()

    def answer(body):
        item = asked(records, body).item
        if item == slow:
            released.wait(5)
        if item == failing:
            return Reply(500, ERROR)
        return Reply(400, b'{"error": {"message": "too long"}}') if item == bad else right(records)(body)

    with serve(answer) as server:
        served = ask(server.url, source, timeout=0.5, retries=1)
        released.set()
    assert served.failed == {"status 500": 1, "status 400": 1, "no answer within 0.5 s": 1}
    assert "out of order" in served.first_said["status 500"]
    [result] = served.results
    assert (result.n, result.accuracy) == (len(records) - 3, 1.0)
    times = Counter(asked(records, body).item for body in server.bodies)
    assert (times[slow], times[failing], times[bad]) == (2, 2, 1)


def test_replies_that_are_no_chat_completion_are_counted(records, source):
    items = sorted(record.item for record in records.values())
    broken = dict(zip(items, BROKEN, strict=False))

    def answer(body):
        body_of = broken.get(asked(records, body).item)
        return right(records)(body) if body_of is None else Reply(200, body_of)

    assert len(items) > len(BROKEN)
    with serve(answer) as server:
        served = ask(server.url, source)
    assert sum(served.failed.values()) == len(BROKEN)
    assert all("repl" in kind for kind in served.failed)
    assert served.results[0].n == len(items) - len(BROKEN)


def test_an_answer_without_text_is_an_answer(records, source):
    with serve(lambda body: completion(None)) as server:
        [result] = ask(server.url, source).results
    assert (result.n, result.accuracy, result.format_rate) == (len(records), 0.0, 0.0)


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_requests_at_once_than_asked_for(records, source, most):
    together, first = threading.Barrier(most, timeout=20), iter(range(most))

    def answer(body):
        if next(first, None) is not None:
            together.wait()
        return right(records)(body)

    with serve(answer) as server:
        ask(server.url, source, concurrency=most, timeout=30)
    assert server.most == most


def test_thinking_that_the_template_opens_or_the_server_takes_out(records, source):
    def opened(body):
        return completion(f"hm</think><answer>{asked(records, body).answer_text}</answer>")

    def taken_out(body):
        return completion(f"<answer>{asked(records, body).answer_text}</answer>", reasoning_content="hm")

    with serve(opened) as server:
        assert ask(server.url, source, "think_answer", limit=3).results[0].format_rate == 0
        assert ask(server.url, source, "think_answer", prefill="<think>", limit=3).results[0].accuracy == 1
    with serve(taken_out) as server:
        assert ask(server.url, source, "think_answer", limit=3).results[0].accuracy == 1
        assert ask(server.url, source, "think_answer", prefill="<think>", limit=3).results[0].accuracy == 1
        assert ask(server.url, source, "answer_only", limit=3).results[0].accuracy == 1


def test_the_key_is_sent_and_never_told(records, folder, tmp_path, monkeypatch, capsys):
    def answer(body):
        item = asked(records, body).item
        quoted = json.dumps({"error": {"message": "bad key sk-secret"}}).encode()
        return Reply(400, quoted) if item == min(r.item for r in records.values()) else right(records)(body)

    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    out = tmp_path / "run" / "results.json"
    line = ["--model", "m", "--source", f"folder:{folder}", "--task", TASK, "--test-fraction", "0.6"]
    with serve(answer) as server:
        assert cli(["eval", "--endpoint", server.url, *line, "--format", "answer_only", "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert set(server.keys) == {"Bearer sk-secret"}
    assert "secret" not in told.out + told.err + out.read_text()
    assert f"1 of {len(records)} requests failed and are left out: status 400 (1 times, first: " in told.err
    run = read_run(out.parent, "run")
    assert run.config["failed"] == {"status 400": 1}
    assert (run.results[0].n, run.results[0].accuracy) == (len(records) - 1, 1.0)
    monkeypatch.delenv("OPENAI_API_KEY")
    with serve(right(records)) as server:
        assert cli(["eval", "--endpoint", server.url, *line, "--format", "answer_only"]) == 0
    assert set(server.keys) == {None}


@pytest.mark.parametrize(("status", "retries"), [(401, 4), (404, 4), (500, 0)])
def test_an_endpoint_that_refuses_or_only_fails_is_one_line(source, status, retries):
    with serve(lambda body: Reply(status, ERROR)) as server, pytest.raises(Ssl4rlError) as caught:
        ask(server.url, source, concurrency=2, retries=retries)
    assert f"status {status}" in str(caught.value) and "out of order" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(server.bodies) <= 12


def test_an_endpoint_out_of_reach_is_one_line(source):
    with serve(lambda body: completion("")) as server:
        pass
    with pytest.raises(Ssl4rlError, match="no connection"):
        ask(server.url, source, concurrency=2, retries=0)


def test_from_a_notebook_whose_loop_runs_already(records, source):
    async def cell(url: str) -> Served:
        return ask(url, source, limit=2)

    with serve(right(records)) as server:
        assert asyncio.run(cell(server.url)).results[0].n == 2


def test_a_build_s_pictures_go_as_they_are_stored(folder, tmp_path, capsys):
    build = tmp_path / "build"
    line = ["build", "--task", TASK, "--source", f"folder:{folder}", "--out", str(build), "--test-fraction", "0.6"]
    assert cli(line) == 0
    from data_builders.reader import BuiltSamples

    samples = BuiltSamples(build)
    stored = [samples.stored("rotation-easy", "test", n) for n in range(samples.size("rotation-easy", "test"))]
    answers = {base64.b64encode(each.pictures[-1]).decode(): each.record.answer_text for each in stored}

    def answer(body):
        urls = [part["image_url"]["url"] for part in body["messages"][0]["content"] if part["type"] == "image_url"]
        kind, _, data = urls[-1].partition(";base64,")
        assert kind == "data:image/jpeg"
        return completion(f"<answer>{answers[data]}</answer>")

    capsys.readouterr()
    with serve(answer) as server:
        line = ["eval", "--endpoint", server.url, "--model", "m", "--data", str(build), "--format", "answer_only"]
        assert cli([*line, "--request", "top_p=0.9", "--request", "temperature=null", "--limit", "5", "--json"]) == 0
    [result] = json.loads(capsys.readouterr().out)
    assert (result["n"], result["accuracy"]) == (5, 1.0)
    assert server.bodies[0]["top_p"] == 0.9 and "temperature" not in server.bodies[0]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--data", "b", "--seed", "0"], "--seed"),
        (["--data", "b", "--max-side", "9", "--test-fraction", "0.1"], "--test-fraction, --max-side"),
        (["--data", "b", "--balance"], "--balance"),
        (["--data", "b", "--concurrency", "2"], "--concurrency"),
        (["--data", "b", "--prefill", "<think>"], "--prefill"),
        (["--data", "b", "--endpoint", "http://localhost/v1", "--dtype", "auto"], "--dtype"),
        (["--data", "b", "--endpoint", "localhost:80"], "http://"),
        (["--source", "s", "--task", "t", "--endpoint", "http://x:99999/v1"], "URL"),
        (["--data", "b", "--endpoint", "http://localhost/v1", "--request", "model=x"], "--request model"),
        (["--data", "b", "--endpoint", "http://localhost/v1", "--request", "top_p"], "KEY=VALUE"),
    ],
)
def test_options_of_another_way_of_asking_are_refused(options, named, capsys):
    assert cli(["eval", "--model", "m", *options]) == 2
    message = capsys.readouterr().err
    assert named in message and message.count("\n") == 1


def test_an_endpoint_s_name_holds_no_password():
    endpoint = Endpoint("https://user:secret@host:8000/v1", "m")
    assert endpoint.name == "host:8000"
    with pytest.raises(UsageError) as caught:
        Endpoint("ftp://user:secret@host", "m")
    assert "secret" not in str(caught.value)
