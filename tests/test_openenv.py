"""The environment server for OpenEnv, against the real package: its own client over a real socket."""

# The package cannot be installed beside verifiers, whose pins contradict it.
# pyright: reportMissingImports=false

import base64
import io
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("openenv.core", reason="needs the package openenv, which no extra brings")

import uvicorn
from openenv.core import GenericEnvClient

from data_builders.live import LiveSamples
from ssl4rl_core.errors import UsageError
from ssl4rl_core.integrations.openenv import Completion, Questions, create_app, sessions
from ssl4rl_core.plugins import registry
from ssl4rl_core.questions import question
from ssl4rl_core.samples import Record, Sample
from ssl4rl_core.testing.adversaries import completions
from ssl4rl_core.testing.memory import synthetic_picture
from ssl4rl_core.training.rewards import Judge, reward_functions
from ssl4rl_core.verification import truth

if not {"rotation", "jigsaw"} <= set(registry().tasks):
    pytest.skip("needs the plugins rotation and jigsaw", allow_module_level=True)

TASKS = ["rotation:easy", "jigsaw:medium"]
FORMAT = registry().format("think_answer")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> str:
    folder: Path = tmp_path_factory.mktemp("photos")
    for number in range(6):
        synthetic_picture(number, 120, 120).save(folder / f"{number}.png")
    return f"folder:{folder}"


@pytest.fixture(scope="module")
def samples(source) -> list[Sample]:
    """What is asked, in its order."""
    live = LiveSamples(source, TASKS, test_fraction=0.3)
    sizes = [live.size(config, "train") for config in live.configs]
    return [live.sample(config, "train", number) for number in range(max(sizes)) for config in live.configs]


@pytest.fixture(scope="module")
def session(source) -> Questions:
    return sessions(task=TASKS, source=source, test_fraction=0.3)()


@pytest.fixture(scope="module")
def url(source) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        app = create_app(task=TASKS, source=source, test_fraction=0.3, most=8)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def client(url) -> Iterator[Any]:
    with GenericEnvClient(base_url=url).sync() as client:
        yield client


def pictures(content: list[dict[str, Any]]) -> list[Image.Image]:
    urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    return [Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,")))) for url in urls]


def test_the_questions_are_ours_in_text_and_pixels(client, samples):
    for index, sample in enumerate(samples):
        asked = client.reset(index=index)
        assert (asked.reward, asked.done) == (None, False)
        [message] = asked.observation["messages"]
        assert message["role"] == "user"
        texts = [part["text"] for part in message["content"] if part["type"] == "text"]
        assert texts == [part["text"] for part in question(sample.record, FORMAT, registry()) if part["type"] == "text"]
        assert [each.tobytes() for each in pictures(message["content"])] == [each.tobytes() for each in sample.images]
        assert asked.observation["chance"] == sample.record.chance


def test_no_answer_is_told_before_it_is_given(client, samples):
    for index, sample in enumerate(samples):
        asked = client.reset(index=index)
        told = {key: value for key, value in asked.observation.items() if key not in ("messages", "metadata")}
        assert not asked.observation.get("metadata")
        assert told == {
            "key": f"{sample.record.task}-{sample.record.level}/{sample.record.item}/0",
            "chance": sample.record.chance,
            "rewards": {},
        }


def trained_on(record: Record, text: str) -> dict[str, float]:
    """The rewards that TRL gets from us in `ssl4rl train`."""
    judge = Judge(FORMAT, registry())
    return {
        reward.__name__: reward(completion_ids=[[0]], record=[record])[0]
        for reward in reward_functions(judge, lambda ids: text)
    }


# In one process: what runs beside it in threads would disturb the draws.
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_the_reward_is_the_trainer_s(data, session, samples):
    index = data.draw(st.integers(0, len(samples) - 1))
    record = samples[index].record
    answer, _ = truth(record, registry())
    right = FORMAT.wrap(answer.text(), "hm")
    text = data.draw(st.one_of(st.just(right), st.text(), completions(answer, FORMAT)))
    session.reset(index=index)
    result = session.step(Completion(completion=text))
    each = trained_on(record, text)
    assert result.done
    assert result.rewards == each
    assert result.reward == pytest.approx(each["answer"] + 0.1 * each["format"])
    if text == right:
        assert each == {"answer": 1, "format": 1}


def test_the_reward_comes_over_the_wire(client, samples):
    for index, sample in enumerate(samples):
        right = FORMAT.wrap(sample.record.answer_text, "\u2014 \n")
        for text in (right, FORMAT.wrap("7"), right + right, ""):
            client.reset(index=index)
            result = client.step({"completion": text})
            each = trained_on(sample.record, text)
            assert (result.done, result.observation["rewards"]) == (True, each)
            assert result.reward == pytest.approx(each["answer"] + 0.1 * each["format"])
            assert result.observation["messages"] == []


def test_reasoning_that_a_server_took_out_counts(client, samples):
    answer = f"<answer>{samples[0].record.answer_text}</answer>"
    client.reset(index=0)
    assert client.step({"completion": answer, "reasoning": "hm"}).reward == pytest.approx(1.1)
    client.reset(index=0)
    assert client.step({"completion": answer}).reward == 0


def test_a_seed_asks_every_session_the_same(url):
    def asked(seed: int) -> list[str]:
        with GenericEnvClient(base_url=url).sync() as client:
            keys = [client.reset(seed=seed).observation["key"]]
            return keys + [client.reset().observation["key"] for _ in range(3)]

    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(asked, [7, 7, 7, 7]))
    assert runs == 4 * [runs[0]]
    assert len({asked(seed)[0] for seed in range(12)}) > 3


def test_an_episode_is_one_answer(client):
    client.reset(seed=1, episode_id="e1")
    assert client.state() == {"episode_id": "e1", "step_count": 0}
    client.step({"completion": "a"})
    assert client.state() == {"episode_id": "e1", "step_count": 1}
    with pytest.raises(RuntimeError, match="reset first"):
        client.step({"completion": "a"})
    client.reset(seed=1)
    assert client.step({"completion": "a"}).done


def test_a_session_without_a_question_says_so(url):
    with GenericEnvClient(base_url=url).sync() as new, pytest.raises(RuntimeError, match="reset first"):
        new.step({"completion": "a"})


def test_a_number_too_high_is_refused_and_the_session_goes_on(client, samples):
    with pytest.raises(RuntimeError, match=f"question 99 cannot be asked: there are {len(samples)}"):
        client.reset(index=99)
    assert client.reset(index=0).observation["key"]


def test_items_that_make_no_question_are_not_asked(tmp_path):
    for number in range(6):
        synthetic_picture(number, *((120, 120) if number < 2 else (9, 9))).save(tmp_path / f"{number}.png")
    environment = sessions(task="rotation:easy", source=f"folder:{tmp_path}", test_fraction=0)()
    assert {environment.reset(seed=seed).key.split("/")[1] for seed in range(20)} == {"0.png", "1.png"}
    with pytest.raises(UsageError, match="question 3 cannot be asked: "):
        environment.reset(index=3)


def test_a_build_is_asked_as_it_is_stored(source, tmp_path):
    from data_builders.builder import build

    build(["rotation:easy"], source, tmp_path / "build", test_fraction=0.3)
    environment = sessions(build=str(tmp_path / "build"), format="answer_only", format_weight=0.5)()
    asked = environment.reset(index=0)
    assert asked.messages[0]["content"][0]["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert environment.step(Completion(completion="<answer>7</answer>")).reward == 0.5


@pytest.mark.parametrize("options", [{}, {"source": "folder:a", "build": "b"}, {"build": "b", "seed": 3}])
def test_what_does_not_fit_together_is_refused(options):
    with pytest.raises(UsageError):
        create_app(task="rotation:easy", **options)
