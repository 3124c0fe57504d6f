"""The environment for verifiers, against the real package: the rewards of our own trainer, and real rollouts."""

import asyncio
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("verifiers.v1", reason="needs the extra 'verifiers'")

import verifiers.v1 as vf

from data_builders.live import LiveSamples
from ssl4rl_core.errors import UsageError
from ssl4rl_core.integrations.verifiers import OneTurnEnv, Question, load_environment
from ssl4rl_core.plugins import registry
from ssl4rl_core.testing.adversaries import completions
from ssl4rl_core.testing.memory import synthetic_picture
from ssl4rl_core.training.rewards import Judge, reward_functions
from ssl4rl_core.verification import truth
from tests.chat_server import Reply, completion, serve

if not {"rotation", "jigsaw"} <= set(registry().tasks):
    pytest.skip("needs the plugins rotation and jigsaw", allow_module_level=True)

TASKS = ["rotation:easy", "jigsaw:medium"]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> str:
    folder: Path = tmp_path_factory.mktemp("photos")
    for number in range(6):
        synthetic_picture(number, 120, 120).save(folder / f"{number}.png")
    return f"folder:{folder}"


@pytest.fixture(scope="module")
def environment(source) -> OneTurnEnv:
    return load_environment(task=TASKS, source=source, test_fraction=0.3)


@pytest.fixture(scope="module")
def questions(environment) -> list[Question]:
    return list(environment.taskset)


def test_the_questions_of_all_tasks_in_turn(questions, source):
    samples = LiveSamples(source, TASKS, test_fraction=0.3)
    sizes = [samples.size(config, "train") for config in samples.configs]
    wanted = [
        samples.sample(config, "train", number).record for number in range(max(sizes)) for config in samples.configs
    ]
    assert [question.data.record for question in questions] == wanted
    assert len({question.key for question in questions}) == len(questions)
    content = content_of(questions[1])
    kinds = {"image": "image_url", "text": "text"}
    assert [part["type"] for part in content] == [*(kinds[part["type"]] for part in wanted[1].content()), "text"]
    assert content[-1]["text"].endswith("inside <answer> </answer>.")
    assert vf.WireTaskData.model_validate_json(questions[0].data.model_dump_json()).id == questions[0].key


def rewards(question: Question, text: str, reasoning: str | None = None) -> vf.Trace:
    message = vf.AssistantMessage(content=text, reasoning_content=reasoning)
    trace = vf.Trace(
        task=vf.TraceTask(type="Question", data=question.data),
        agent=vf.AgentInfo(config=vf.AgentConfig()),
        nodes=[vf.MessageNode(message=message, sampled=True)],
    )
    asyncio.run(question.score(trace))
    return trace


def trained_on(question: Question, text: str) -> tuple[list[float], np.float32]:
    """The two rewards that TRL gets from us in `ssl4rl train`, and what it makes of them: their weighted sum."""
    judge = Judge(registry().format(question.data.format), registry())
    each = [
        reward(completion_ids=[[0]], record=[question.data.record])[0]
        for reward in reward_functions(judge, lambda ids: text)
    ]
    return each, np.float32(np.array(each, np.float32) @ np.array([1.0, 0.1], np.float32))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_the_reward_is_the_trainer_s(data, questions):
    question = data.draw(st.sampled_from(questions))
    response_format = registry().format(question.data.format)
    answer, _ = truth(question.data.record, registry())
    right = response_format.wrap(answer.text(), "hm")
    text = data.draw(st.one_of(st.just(right), st.text(), completions(answer, response_format)))
    trace = rewards(question, text)
    each, total = trained_on(question, text)
    assert {name: reward.score for name, reward in trace.rewards.items() if reward} == dict(
        zip(("answer", "format"), each, strict=True)
    )
    assert trace.reward == pytest.approx(total, rel=1e-6)
    if text == right:
        assert each == [1.0, 1.0]


def test_reasoning_that_a_server_took_out_counts(questions):
    record = questions[0].data.record
    trace = rewards(questions[0], f"<answer>{record.answer_text}</answer>", reasoning="hm")
    assert trace.reward == pytest.approx(1.1)
    assert rewards(questions[0], f"<answer>{record.answer_text}</answer>").reward == 0


def roll_out(environment: OneTurnEnv, url: str, questions: list[Question]) -> list[vf.Trace]:
    client = vf.EvalClientConfig(base_url=url, api_key_var="NO_SUCH_KEY")
    context = vf.ModelContext("m", client, vf.SamplingConfig(temperature=0.7, max_tokens=9))

    async def run() -> list[vf.Episode]:
        async with environment.serving():
            slots = [environment.slots(question)[0] for question in questions]
            return await asyncio.gather(*(environment.run_slot(slot, context) for slot in slots))

    return [trace for episode in asyncio.run(run()) for trace in episode.traces]


def test_rollouts_through_verifiers(environment, questions):
    asked = questions[:4]
    texts = [f"<think>hm</think><answer>{question.data.record.answer_text}</answer>" for question in asked[:2]]
    said = dict(zip(map(picture_of, asked), [*texts, "no idea", ""], strict=True))

    def answer(body: dict[str, Any]) -> Reply:
        return completion(said[picture(body["messages"][0]["content"])])

    with serve(answer) as server:
        traces = roll_out(environment, server.url, asked)
    assert [trace.errors for trace in traces] == [[]] * 4
    got = {trace.task.key: trace.reward for trace in traces}
    expected = {question.key: trained_on(question, said[picture_of(question)])[1] for question in asked}
    assert got == pytest.approx(expected)
    assert sorted(got.values()) == pytest.approx([0, 0, 1.1, 1.1])
    body = server.bodies[0]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0.7, 9)


def picture(content: list[dict[str, Any]]) -> str:
    return [part["image_url"]["url"] for part in content if part["type"] == "image_url"][-1]


def content_of(question: Question) -> list[dict[str, Any]]:
    [message] = question.data.model_dump()["prompt"]
    return message["content"]


def picture_of(question: Question) -> str:
    return picture(content_of(question))


def test_a_server_that_fails_is_an_error_of_the_rollout_and_no_reward(environment, questions):
    with serve(lambda body: Reply(400, b'{"error": {"message": "too long"}}')) as server:
        [trace] = roll_out(environment, server.url, questions[:1])
    assert not trace.ok and trace.errors
    assert trace.reward == 0


def test_verifiers_finds_it_by_its_id(source):
    config = vf.resolve_env_config(
        {
            "taskset": {
                "id": "ssl4rl_verifiers",
                "tasks": ["rotation:easy"],
                "source": source,
                "format": "answer_only",
                "task": {"rewards": {"format": {"weight": 0.5}}},
            }
        }
    )
    question = next(iter(vf.load_environment(config).taskset))
    trace = rewards(question, "<answer>7</answer>")
    assert {name: reward.value for name, reward in trace.rewards.items() if reward} == {"answer": 0.0, "format": 0.5}


def test_a_build_is_asked_as_it_is_stored(source, tmp_path):
    from data_builders.builder import build

    build(["rotation:easy"], source, tmp_path / "build", test_fraction=0.3)
    environment = load_environment(build=str(tmp_path / "build"))
    [first] = itertools.islice(environment.taskset, 1)
    assert picture_of(first).startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize("options", [{}, {"source": "folder:a", "build": "b"}, {"build": "b", "seed": 3}])
def test_what_does_not_fit_together_is_refused(options):
    with pytest.raises(UsageError):
        load_environment(task="rotation:easy", **options)
