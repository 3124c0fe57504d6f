"""Questions asked of a model that is served: by vLLM, SGLang, llama.cpp, or anything with OpenAI's chat completions."""

import asyncio
import base64
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from data_builders.reader import BuiltSamples
from ssl4rl_core.errors import MissingExtra, Ssl4rlError, UsageError, one_line
from ssl4rl_core.formats import ResponseFormat
from ssl4rl_core.plugins import registry
from ssl4rl_core.questions import question
from ssl4rl_core.samples import Record, SampleSet, Split
from ssl4rl_core.tasks import Skip
from ssl4rl_core.training.evaluate import Scored
from ssl4rl_core.training.rewards import Judge

if TYPE_CHECKING:
    from openai import AsyncOpenAI

KEY = "OPENAI_API_KEY"
"""The variable that holds the key of an endpoint; without it none is sent. It is never printed or written."""

_REFUSED = (401, 403, 404)


@dataclass(frozen=True)
class Endpoint:
    """A model behind a URL, and how it is asked.

    Attributes:
        url: what comes before /chat/completions: "http://localhost:8000/v1".
        model: the name it is served under.
        concurrency: requests under way at once.
        timeout: seconds that one try of a request may take.
        retries: tries after the first, with growing pauses, where the endpoint is busy, broken or out of reach.
        max_tokens: longest completion.
        request: fields of every request's body; None leaves one out that would be there ("temperature", "max_tokens").

    Raises:
        UsageError: the URL is not one of HTTP.
    """

    url: str
    model: str
    concurrency: int = 16
    timeout: float = 300.0
    retries: int = 4
    max_tokens: int = 1024
    request: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            _ = parts.port
        except ValueError as error:
            raise UsageError(
                f"an endpoint is a URL such as http://localhost:8000/v1, but this is none: {error}"
            ) from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError("an endpoint is a URL such as http://localhost:8000/v1, with http:// or https://")

    @property
    def name(self) -> str:
        """Its host and port; a URL may hold a password."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)

    def body(self, content: str | list[dict[str, Any]]) -> dict[str, Any]:
        """The body of a request: greedy decoding, unless `request` says otherwise."""
        asked = {"temperature": 0, "max_tokens": self.max_tokens, **self.request}
        messages = [{"role": "user", "content": content}]
        return {"model": self.model, "messages": messages} | {k: v for k, v in asked.items() if v is not None}

    def client(self) -> "AsyncOpenAI":
        """A client of it; MissingExtra where the package is not installed."""
        try:
            import openai
        except ImportError as error:
            raise MissingExtra("an endpoint", "serve", error) from error
        # The client wants a key, even where none is sent.
        key = os.environ.get(KEY) or "none"
        return openai.AsyncOpenAI(base_url=self.url, api_key=key, timeout=self.timeout, max_retries=self.retries)


class _Failed(Exception):
    """A request that got no completion, even after its retries: what kind of failure, and what was said."""

    def __init__(self, kind: str, said: object = "") -> None:
        super().__init__(kind)
        self.kind = kind
        key = os.environ.get(KEY)
        self.said = one_line(str(said).replace(key, "...") if key else said)  # some servers quote it


class Asker:
    """Asks questions of an endpoint, many at once, and scores what comes back.

    Args:
        judge: with what the served model's chat template prefills, such as `<think>`.
    """

    def __init__(self, endpoint: Endpoint, judge: Judge) -> None:
        self.endpoint, self._judge = endpoint, judge
        self.failed: Counter[str] = Counter()
        """Requests without a completion so far, by kind."""
        self.first_said: dict[str, str] = {}
        """What the endpoint said to the first failure of each kind."""
        self._in_a_row = 0

    def ask(
        self,
        samples: SampleSet,
        config: str,
        split: Split,
        numbers: Sequence[int],
        each: Callable[[Scored], None] = lambda scored: None,
    ) -> list[Scored]:
        """The scored answers to these samples of a config, in their order; those that failed are left out and counted.

        Args:
            each: called with every answer as it comes.

        Raises:
            Ssl4rlError: the endpoint refuses (401, 403, 404), or fails many times in a row.
            MissingExtra: the package openai is not installed.
        """
        scored: dict[int, Scored] = {}

        def answered(number: int, record: Record, completion: str) -> None:
            scored[number] = Scored(record, self._judge(record, completion))
            each(scored[number])

        try:
            _run(lambda: self._ask_all(_asked(samples, config, split, numbers), answered))
        except ExceptionGroup as group:
            # One is enough to stop for, and then the first is the one to tell of.
            raise group.exceptions[0] from group
        return [scored[number] for number in sorted(scored)]

    async def _ask_all(
        self,
        questions: Iterator[tuple[int, Record, list[str]]],
        answered: Callable[[int, Record, str], None],
    ) -> None:
        free = asyncio.Semaphore(self.endpoint.concurrency)

        async def ask(number: int, record: Record, pictures: list[str]) -> None:
            try:
                content = chat_content(record, pictures, self._judge.response_format)
                completion = await _complete(client, self.endpoint, content, self._judge)
            except _Failed as failure:
                self._count(failure)
            else:
                self._in_a_row = 0
                answered(number, record, completion)
            finally:
                free.release()

        async with self.endpoint.client() as client, asyncio.TaskGroup() as group:
            # In a thread, so that rendering does not keep the others waiting.
            while (asked := await asyncio.to_thread(next, questions, None)) is not None:
                await free.acquire()
                group.create_task(ask(*asked))

    def _count(self, failure: _Failed) -> None:
        self.failed[failure.kind] += 1
        self.first_said.setdefault(failure.kind, failure.said)
        self._in_a_row += 1
        if self._in_a_row >= max(10, 2 * self.endpoint.concurrency):
            raise Ssl4rlError(
                f"endpoint {self.endpoint.name} failed {self._in_a_row} requests in a row, the last with "
                f"{failure.kind}: {failure.said}"
            )


async def _complete(
    client: "AsyncOpenAI", endpoint: Endpoint, content: str | list[dict[str, Any]], judge: Judge
) -> str:
    import openai

    headers = {} if os.environ.get(KEY) else {"Authorization": openai.Omit()}
    try:
        # Not `chat.completions.create`, which would make an object of whatever JSON comes back.
        reply = await client.post(
            "/chat/completions", cast_to=object, body=endpoint.body(content), options={"headers": headers}
        )
    except openai.APIStatusError as error:
        failure = _Failed(f"status {error.status_code}", error.message)
        if error.status_code in _REFUSED:
            raise Ssl4rlError(
                f"endpoint {endpoint.name} refuses model {endpoint.model!r} with {failure.kind}: {failure.said} "
                f"(see to the URL, --model and {KEY})"
            ) from error
        raise failure from error
    except openai.APITimeoutError as error:
        raise _Failed(f"no answer within {endpoint.timeout:g} s") from error
    except openai.APIConnectionError as error:
        raise _Failed("no connection", error.__cause__ or error) from error
    except (openai.OpenAIError, ValueError, RecursionError) as error:
        raise _Failed("a reply that cannot be read", error) from error
    return completion_text(reply, judge)


def completion_text(reply: Any, judge: Judge) -> str:
    """The model's own words in a chat completion.

    Args:
        reply: the JSON of a chat completion.
        judge: who will score it. Where its format has `<think>`, a server that takes out the reasoning is undone.

    Raises:
        _Failed: it is no chat completion.
    """
    try:
        message = reply["choices"][0]["message"]
        text, thought = message.get("content"), message.get("reasoning_content") or message.get("reasoning")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise _Failed("a reply that is no chat completion", reply) from error
    if not isinstance(text, str | None) or not isinstance(thought, str | None):
        raise _Failed("a reply that is no chat completion", reply)
    return said(text, thought, judge)


def said(text: str | None, thought: str | None, judge: Judge) -> str:
    """A completion from its text and the reasoning that a server took out of it, without what was prefilled."""
    if not thought or "<think>" not in judge.response_format.wrap(""):
        return text or ""
    opened = "" if judge.prefill.strip().endswith("<think>") else "<think>"
    return f"{opened}{thought}</think>\n{text or ''}"


def chat_content(
    record: Record, pictures: Sequence[str], response_format: ResponseFormat
) -> str | list[dict[str, Any]]:
    """The content of the message that asks, as OpenAI's API has it; plain text where there are no pictures.

    Args:
        pictures: URLs, in the order of the record's image parts.
    """
    parts = question(record, response_format, registry())
    if not pictures:
        return "".join(part["text"] for part in parts)
    urls = iter(pictures)
    return [
        {"type": "image_url", "image_url": {"url": next(urls)}} if part["type"] == "image" else part for part in parts
    ]


def with_urls(samples: SampleSet, config: str, split: Split, index: int) -> tuple[Record, list[str]]:
    """The record of a sample, and its pictures as data URLs: a build's as they are stored, others as PNG.

    Either way the model sees the same pixels that a model of ours would. Raises as `samples` does.
    """
    if isinstance(samples, BuiltSamples):
        stored = samples.stored(config, split, index)
        kind = samples.manifest.plan.options.image_format
        return stored.record, [_data_url(picture, kind) for picture in stored.pictures]
    sample = samples.sample(config, split, index)
    urls = []
    for image in sample.images:
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=1)
        urls.append(_data_url(buffer.getvalue(), "png"))
    return sample.record, urls


def _data_url(picture: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def _asked(
    samples: SampleSet, config: str, split: Split, numbers: Sequence[int]
) -> Iterator[tuple[int, Record, list[str]]]:
    for number in numbers:
        try:
            yield number, *with_urls(samples, config, split, number)
        except Skip:
            continue


def _run(work: Callable[[], Any]) -> None:
    """Run a coroutine to its end, also where a loop runs already, as it does in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work())
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(work())).result()
