"""The task under check: its levels, the data it is asked about, its samples, and where its code stands."""

import functools
import hashlib
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from ssl4rl_core.answers import BUILT_IN, Answer
from ssl4rl_core.configs import TaskConfig
from ssl4rl_core.errors import TaskError, UsageError, one_line
from ssl4rl_core.rendering import IMAGE_MARK, PictureChanged, render, sample_rng
from ssl4rl_core.samples import ImageItem, Item, Sample, Split
from ssl4rl_core.sources import Entry, Source, Splitter, View
from ssl4rl_core.tasks import Draft, Skip, Task
from ssl4rl_core.testing.checks.outcome import CannotRender, Fault
from ssl4rl_core.testing.generated import PICTURES, generated_source
from ssl4rl_core.verification import truth

MAX_SIDE = 512
MAX_ITEMS = 64
"""Items that are asked about of generated data, and of a stream; more samples are more variants of them."""
MANY_ITEMS = 300
"""Items that are asked about of a source, and of generated data where what counts is that samples are unrelated."""
_PATIENCE = 4
"""Variants of all items in a row that may all be skipped."""
Place = tuple[int, int]
"""What names a sample of a config here: the item's position in the source, and the variant."""


class Subject:
    """A task with what is needed to check it. Samples are rendered when first asked for, and kept."""

    def __init__(
        self,
        task: Task,
        source: Source | None = None,
        levels: Sequence[str] = (),
        digest_file: Path | None = None,
        *,
        many: bool = False,
    ) -> None:
        """
        Args:
            source: what to ask about; else generated data of the task's domain.
            levels: the levels to check; else all.
            digest_file: where the digests of the published version are recorded, if they are.
            many: whether to ask about `MANY_ITEMS` instead of `MAX_ITEMS`, and generate as many pictures.

        Raises:
            UsageError: there is no such level, the source holds no such items, or nothing is generated for the domain.
        """
        for level in levels:
            if level not in task.levels:
                raise UsageError(f"task {task.name} has no level {level!r}: {', '.join(task.levels)}")
        self.task, self.digest_file = task, digest_file
        self.generated = source is None
        """Whether the data is the kit's own."""
        self.source = source or generated_source(task.domain, MANY_ITEMS if many else PICTURES)
        # A stream is read anew for nearly each of items that lie apart.
        few = (self.generated and not many) or self.source.streamed
        self._max_items = MAX_ITEMS if few else MANY_ITEMS
        self.source.check_serves(task)
        self.configs = [TaskConfig(task, level, task.levels[level]) for level in levels or task.levels]
        # A task that is no reward asks about held-out items alone.
        self.split: Split = "train" if task.reward else "test"
        # None of the few generated pictures need be held out.
        everything = Splitter(0 if task.reward else 1)
        self.splitter = everything if self.generated and task.domain == "image" else Splitter()
        self._items: dict[int, Item] = {}
        self._pixels: dict[int, bytes] = {}
        self._samples: dict[str, list[Sample]] = {}
        self._streams: dict[str, Iterator[Sample]] = {}
        self._failures: dict[str, CannotRender] = {}
        self.skipped: dict[str, list[str]] = {config.name: [] for config in self.configs}
        """Why items were left out, by config."""

    @functools.cached_property
    def wide(self) -> "Subject":
        """The task asked about many items, for statistics: variants of one item are not independent.

        Itself where the data is not generated, which then are many already, so that none is read twice.
        """
        levels = [config.level for config in self.configs]
        return Subject(self.task, levels=levels, many=True) if self.generated else self

    @functools.cached_property
    def view(self) -> View:
        """What the samples may see."""
        return self.source.view(self.task.kind, self.split, self.splitter, max_side=MAX_SIDE)

    @functools.cached_property
    def entries(self) -> list[Entry]:
        """The entries asked about: up to `MAX_ITEMS` of the split (or `MANY_ITEMS`), spread over the source."""
        index = self.source.index(self.task.kind)
        step = max(1, len(index) // (4 * self._max_items))
        chosen = (index[position] for position in range(0, len(index), step))
        return [entry for entry in chosen if self.splitter(entry) == self.split][: self._max_items]

    def item(self, position: int) -> Item:
        """The item at a position of the source, read once."""
        if position not in self._items:
            entry = self.source.index(self.task.kind)[position]
            self._items[position] = self.source.load(self.task.kind, entry, max_side=MAX_SIDE)
            self._pixels[position] = _pixels(self._items[position])
        return self._items[position]

    def untouched(self, position: int) -> bool:
        """Whether an item's picture is what it was when it was read."""
        return _pixels(self.item(position)) == self._pixels[position]

    def samples(self, config: TaskConfig, count: int) -> list[Sample]:
        """`count` samples of a config: each item once, then each item's next variant.

        Raises:
            CannotRender: the task fails on an item, or skips all of them.
        """
        kept = self._samples.setdefault(config.name, [])
        stream = self._streams.setdefault(config.name, self._stream(config))
        if failure := self._failures.get(config.name):
            raise failure
        try:
            while len(kept) < count:
                kept.append(next(stream))
        except CannotRender as error:
            self._failures[config.name] = error
            raise
        except Exception as error:
            # What raised has ended the stream: it is said once, and not that there is no next sample.
            came = f"{type(error).__name__}: {one_line(error)}"
            fault = Fault("a sample, or Skip", came, f"{self.where('transform')} (level {config.level})")
            self._failures[config.name] = CannotRender("levels", fault)
            raise self._failures[config.name] from error
        return kept[:count]

    def place(self, sample: Sample) -> Place:
        """The place of a sample that `samples` gave."""
        return self._positions[sample.record.item], sample.record.variant

    def draw(self, config: TaskConfig, place: Place, *, task: Task | None = None, view: View | None = None) -> Sample:
        """Render one sample anew, by another instance of the task or with another view where these are given."""
        asked = TaskConfig(task, config.level, config.params) if task else config
        return render(asked, self.item(place[0]), view or self.view, variant=place[1])

    def answer(self, sample: Sample) -> Answer:
        """The right answer, from the record alone."""
        return truth(sample.record, self)[0]

    @property
    def tasks(self) -> dict[str, Task]:
        """The one task there is: all that verification may need to know."""
        return {self.task.name: self.task}

    def why_missing(self, task: str) -> str:
        """Nothing is known of others."""
        return ""

    def where(self, member: str = "") -> str:
        """Where a method or attribute of the task is written: "Rotation.transform, ssl4rl_task_rotation.py line 57"."""
        task = type(self.task)
        owner = next((base for base in task.__mro__ if member in vars(base)), task)
        name = f"{owner.__name__}.{member}" if member else task.__name__
        found = inspect.unwrap(getattr(task, member, task)) if member else task
        try:
            line = inspect.getsourcelines(found if callable(found) else owner)[1]
            return f"{name}, {Path(inspect.getfile(owner)).name} line {line}"
        except (OSError, TypeError):
            return f"{name}, module {owner.__module__}"

    @functools.cached_property
    def _positions(self) -> dict[str, int]:
        return {entry.id: entry.position for entry in self.entries}

    def _stream(self, config: TaskConfig) -> Iterator[Sample]:
        """Samples without end."""
        variant = last_found = 0
        while True:
            for entry in self.entries:
                try:
                    sample = self.draw(config, (entry.position, variant))
                    self._read_back(sample, config)
                    yield sample
                    last_found = variant
                except Skip as skip:
                    self.skipped[config.name].append(str(skip))
                except TaskError as error:
                    raise self._attributed(config, (entry.position, variant), error) from error
            variant += 1
            if variant - last_found > _PATIENCE:
                reasons = ", ".join(sorted(set(self.skipped[config.name]))) or f"no items of split {self.split}"
                raise CannotRender(
                    "levels",
                    Fault(
                        f"questions of level {config.level} about {self.source.name}",
                        f"none of {len(self.entries)} items gave one: {reasons}",
                        f"{self.where('transform')}; or name a source that suits by --source",
                    ),
                )

    def _read_back(self, sample: Sample, config: TaskConfig) -> None:
        try:
            self.answer(sample)
        except UsageError as error:
            kinds = ", ".join(each.__name__ for each in self.task.answer_types) or "none"
            where = f"{self.where('transform')} (level {config.level}, item {sample.record.item!r})"
            expected = f"an answer that reads back from its JSON (answer_types: {kinds})"
            raise CannotRender("answers", Fault(expected, str(error)[:300], where)) from error

    def _attributed(self, config: TaskConfig, place: Place, error: TaskError) -> CannotRender:
        """Which check a failure to render belongs to: purity, the prompt's, the answer's, or the levels' own."""
        which = f"level {config.level}, item {place[0]} of {self.source.name}, variant {place[1]}"
        reason = one_line(error.__cause__ or error)
        if isinstance(error.__cause__, ValidationError) and error.__cause__.title in {
            answer_type.__name__ for answer_type in (*BUILT_IN, *self.task.answer_types)
        }:
            return CannotRender(
                "answers", Fault("an answer that its own type allows", reason, f"{self.where('transform')} ({which})")
            )
        if isinstance(error.__cause__, PictureChanged):
            where = f"{self.where('transform')} ({which})"
            expected = "the item's picture left as it was: copy it first"
            return CannotRender("purity", Fault(expected, "its pixels changed", where))
        try:
            rng = sample_rng(0, config, self.item(place[0]).id, place[1])
            draft = self.task.transform(self.item(place[0]), config.params, rng, self.view)
            template = self.task.template(config.params)
        except Exception:
            came = f"{type(error.__cause__ or error).__name__}: {reason}"
            return CannotRender("levels", Fault("a draft, or Skip", came, f"{self.where('transform')} ({which})"))
        if not isinstance(draft, Draft):
            came = repr(draft)[:120]
            where = f"{self.where('transform')} ({which})"
            return CannotRender("levels", Fault("a Draft, or Skip", came, where))
        if len(draft.images) != template.count(IMAGE_MARK):
            return CannotRender(
                "prompt",
                Fault(
                    f"an {IMAGE_MARK} mark in the prompt for each of the draft's {len(draft.images)} pictures",
                    f"{template.count(IMAGE_MARK)} marks in {template[:120]!r}",
                    f"{self.where('prompt')} ({which})",
                ),
            )
        if reason.startswith("the prompt's field"):
            return CannotRender("prompt", Fault("a value for each field", reason, f"{self.where('prompt')} ({which})"))
        return CannotRender("answers", Fault("a sample made of the draft", reason, f"{self.where()} ({which})"))


def _pixels(item: Item) -> bytes:
    return hashlib.blake2b(item.image.tobytes()).digest() if isinstance(item, ImageItem) else b""


def trace(sample: Sample) -> dict[str, str]:
    """What a sample is, field by field, with a digest for each picture: equal for equal samples."""
    pictures = {
        f"picture {number}": hashlib.blake2b(
            f"{image.mode} {image.size} ".encode() + image.tobytes(), digest_size=16
        ).hexdigest()
        for number, image in enumerate(sample.images, start=1)
    }
    return {**{name: str(value) for name, value in sample.record.model_dump().items()}, **pictures}


def difference(first: dict[str, str], second: dict[str, str]) -> str:
    """The first field in which two traces differ, or "" where they are equal."""
    for name in sorted(first.keys() | second.keys()):
        if first.get(name) != second.get(name):
            return f"{name} is {first.get(name)!r:.80} once and {second.get(name)!r:.80} the other time"
    return ""
