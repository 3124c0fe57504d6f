"""What a model is asked: a record's question, and how to answer it in the format of the day."""

from ssl4rl_core.formats import ResponseFormat
from ssl4rl_core.samples import Record
from ssl4rl_core.verification import HasTasks, truth


def question(record: Record, response_format: ResponseFormat, registry: HasTasks) -> list[dict[str, str]]:
    """The parts of the message that asks, in order: {"type": "text", "text": ...} and {"type": "image"}.

    Raises:
        UsageError: the answer's own hint is needed, and its task is not installed.
    """
    answer, _ = truth(record, registry)
    instruction = response_format.instruction(answer.hint())
    return [*record.content(), {"type": "text", "text": "\n" + instruction}]
