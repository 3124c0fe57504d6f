"""An environment for verifiers (https://github.com/primeintellect-ai/verifiers), and so for prime-rl.

In Python `load_environment` makes it. On a command line of verifiers it goes by the id of the module that exports it:

    vf-eval ssl4rl_verifiers --env.taskset.tasks '["rotation:easy"]' --env.taskset.source folder:photos

A question is one turn: a message of the user's with the pictures as data URLs, and the model's answer. Rewards are
`answer` and `format`, the same numbers as in `ssl4rl train`, with the same default weights; verifiers' own setting
changes those: `--env.taskset.task.rewards.format.weight 0`.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Literal

from pydantic import Field

from ssl4rl_core.errors import MissingExtra
from ssl4rl_core.integrations.in_turn import InTurn
from ssl4rl_core.plugins import registry
from ssl4rl_core.samples import Record
from ssl4rl_core.training.endpoint import said
from ssl4rl_core.training.recipe import DataSettings, RewardSettings, checked
from ssl4rl_core.training.rewards import Judge
from ssl4rl_core.verification import Verdict

try:
    import verifiers.v1 as vf
    from openai import AsyncOpenAI
    from verifiers.v1.dialects.chat import message_to_wire
except ImportError as error:
    raise MissingExtra("the environment for verifiers", "verifiers", error) from error

ID = "ssl4rl_verifiers"
"""The module that verifiers finds all this by; ids of plugins there have no dots."""

_WEIGHTS = RewardSettings()


class QuestionData(vf.TaskData):
    """A question as it travels: the message that asks, and all that its answer is scored by."""

    record: Record
    format: str
    """Name of the response format that was asked for."""
    prefill: str = ""
    """What the chat template writes on the model's behalf, such as `<think>`."""


class Question(vf.Task[QuestionData, vf.State, vf.TaskConfig]):
    """A question and its two rewards."""

    @property
    def key(self) -> str:
        """Config, item and variant: what names a sample in a build, too."""
        return str(self.data.id)

    @vf.reward(weight=_WEIGHTS.answer)
    async def answer(self, trace: vf.Trace) -> float:
        """The answer's score, 0 where the format is broken."""
        return self._verdict(trace).score

    @vf.reward(weight=_WEIGHTS.format)
    async def format(self, trace: vf.Trace) -> float:
        """1 where the completion keeps to the format, whatever it answers."""
        return float(self._verdict(trace).format_ok)

    def _verdict(self, trace: vf.Trace) -> Verdict:
        judge = _judge(self.data.format, self.data.prefill)
        spoken = trace.assistant_messages
        completion = said(spoken[-1].content, spoken[-1].reasoning_content, judge) if spoken else ""
        return judge(self.data.record, completion)


@cache
def _judge(response_format: str, prefill: str) -> Judge:
    return Judge(registry().format(response_format), registry(), prefill=prefill)


def _of_data(name: str) -> Any:
    """A field that means what it means in a recipe's `data`; `QuestionsConfig.settings` checks what is given."""
    field = DataSettings.model_fields[name]
    return Field(default=field.default, description=field.description)


class QuestionsConfig(vf.TasksetConfig):
    """What is asked: `data` or `source`, as in a recipe, and how to answer."""

    tasks: list[str] = []
    """NAME[:LEVEL][?param=value], each; none means all that the build has."""
    build: str | None = _of_data("build")
    source: str | None = _of_data("source")
    split: Literal["train", "test"] = "train"
    format: str = "think_answer"
    prefill: str = ""
    seed: int = _of_data("seed")
    variants: int = _of_data("variants")
    balance: bool = _of_data("balance")
    test_fraction: float = _of_data("test_fraction")
    max_side: int | None = _of_data("max_side")
    layout: Literal["separate", "composite"] = _of_data("layout")

    def settings(self) -> DataSettings:
        """Where the samples come from, as recipes say it; UsageError where that does not fit together."""
        return checked(DataSettings, **{name: getattr(self, name) for name in DataSettings.model_fields})


class Questions(vf.Taskset[Question, QuestionsConfig]):
    """The questions of one or more tasks in turn, each rendered or read when it is iterated to."""

    def load(self) -> Iterator[Question]:
        """The questions; items that cannot become one are left out.

        Raises:
            UsageError: the data, a task or the format does not exist.
        """
        asked = self.config
        for question in InTurn(asked.settings(), asked.tasks, asked.split, asked.format):
            content: Any = question.content
            data = QuestionData(  # pyright: ignore[reportCallIssue]
                id=question.key,
                prompt=[vf.UserMessage(content=content)],
                record=question.record,
                format=asked.format,
                prefill=asked.prefill,
            )
            yield Question(data, asked.task)


class OneTurn(vf.Harness[vf.HarnessConfig]):
    """Asks once and takes what comes, from within this process: there is nothing to run in a sandbox."""

    APPENDS_SYSTEM_PROMPT = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(
        self,
        ctx: vf.ModelContext,
        trace: vf.Trace,
        runtime: vf.Runtime,
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: vf.TaskData,
        tool_interception_url: str | None = None,
    ) -> vf.ProgramResult:
        """Send the question to the endpoint that verifiers listens in on; it keeps the answer in the trace."""
        system, prompt = self.resolve_prompt(data)
        asked = [vf.UserMessage(content=prompt)] if isinstance(prompt, str) else list(prompt or [])
        messages: Any = [message_to_wire(message) for message in asked]
        if system:
            messages.insert(0, {"role": "system", "content": system})
        async with AsyncOpenAI(base_url=endpoint, api_key=secret) as client:
            await client.chat.completions.create(model=ctx.model, messages=messages)
        return vf.ProgramResult(exit_code=0, stdout="", stderr="")


class OneTurnEnvConfig(vf.EnvConfig):
    """The one who answers, next to this process."""

    agent: vf.AgentConfig = vf.AgentConfig(runtime=vf.SubprocessConfig())


class OneTurnEnv(vf.Env[OneTurnEnvConfig]):
    """One agent, one question, one answer."""

    async def run(self, task: vf.Task, agents: vf.Agents) -> None:
        """Have the agent answer."""
        await agents.agent.run(task)


def load_environment(task: str | Sequence[str] = (), source: str | None = None, **options: Any) -> OneTurnEnv:
    """The environment of one or more tasks.

        env = load_environment(task="rotation:easy", source="folder:photos")

    Args:
        task: NAME[:LEVEL][?param=value], one or several; none means all configs of a build.
        source: kind:where?option=value; samples are rendered on the fly.
        options: fields of `QuestionsConfig`, such as `build`, the folder of a build, in place of `source`.

    Raises:
        UsageError: neither or both of source and build are given.
        ValidationError: an option is unknown, or does not fit.
    """
    tasks = [task] if isinstance(task, str) else list(task)
    asked = QuestionsConfig(id=ID, tasks=tasks, source=source, **options)
    asked.settings()
    return OneTurnEnv(OneTurnEnvConfig(taskset=asked))  # pyright: ignore[reportCallIssue]


__all__ = ["OneTurn", "OneTurnEnv", "Questions", "load_environment"]
