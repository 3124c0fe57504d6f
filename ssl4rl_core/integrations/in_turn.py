"""The questions of one or more tasks in turn, by number: what environments of other trainers ask."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ssl4rl_core.configs import check_rewards
from ssl4rl_core.plugins import registry
from ssl4rl_core.samples import Record, Split
from ssl4rl_core.tasks import Skip
from ssl4rl_core.training.data import open_data
from ssl4rl_core.training.endpoint import chat_content, with_urls
from ssl4rl_core.training.recipe import DataSettings, TaskSettings, checked
from ssl4rl_core.training.stream import check_any


class Asked(NamedTuple):
    """A question as it is asked."""

    record: Record
    content: str | list[dict[str, Any]]
    """Of the user's message, as OpenAI's API has it: pictures are data URLs; plain text where there are none."""

    @property
    def key(self) -> str:
        """Config, item and variant: what names a sample in a build, too."""
        return f"{self.record.config}/{self.record.item}/{self.record.variant}"


class InTurn:
    """The first question of each config, the second of each, and so on; each rendered or read when it is asked for."""

    def __init__(self, data: DataSettings, tasks: Sequence[str], split: Split, response_format: str) -> None:
        """Open the data.

        Args:
            tasks: NAME[:LEVEL][?param=value], each; none means all that the build has.
            response_format: its name.

        Raises:
            UsageError: the data, a task or the format does not exist, there are no samples, or a downstream task is
                asked about its training split.
        """
        self.format = registry().format(response_format)
        self.split: Split = split
        self._samples, weights = open_data(data, [checked(TaskSettings, task=task) for task in tasks])
        if split == "train":  # what is trained on is rewarded, and some tasks must not be
            check_rewards(weights)
        for config in weights:
            check_any(self._samples, config, split)
        self._sizes = {config: self._samples.size(config, split) for config in weights}

    def __len__(self) -> int:
        """How many there are, those included whose item turns out not to make a question."""
        return sum(self._sizes.values())

    def __getitem__(self, number: int) -> Asked:
        """Question `number`.

        Raises:
            IndexError: there is no such number.
            Skip: the item cannot become a question.
        """
        config, index = self._place(number)
        record, pictures = with_urls(self._samples, config, self.split, index)
        return Asked(record, chat_content(record, pictures, self.format))

    def __iter__(self) -> Iterator[Asked]:
        """All of them; items that cannot become a question are left out."""
        for number in range(len(self)):
            try:
                yield self[number]
            except Skip:
                continue

    def _place(self, number: int) -> tuple[str, int]:
        """Its config, and its number there."""
        if not 0 <= number < len(self):
            raise IndexError(f"there are {len(self)} questions, asked for number {number}")
        begun, left = 0, number
        for end in sorted(set(self._sizes.values())):  # where a config has no more, and the others go on
            going_on = [config for config, size in self._sizes.items() if size > begun]
            if left < (end - begun) * len(going_on):
                break
            left -= (end - begun) * len(going_on)
            begun = end
        turn, place = divmod(left, len(going_on))
        return going_on[place], begun + turn
