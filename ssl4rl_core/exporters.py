"""Exporters: how a build becomes the files that another program reads, and what a plugin author subclasses for one."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Generic, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from ssl4rl_core.samples import Record, SampleSet, Split

Advance = Callable[[int], None]
"""Called with the number of samples that have been written since it was called last."""


class StoredSample(NamedTuple):
    """A sample as its shard holds it: the record, and each picture as the bytes of an image file."""

    record: Record
    pictures: tuple[bytes, ...]


class StoredSamples(SampleSet, Protocol):
    """What is exported: a `SampleSet` whose pictures can also be had as they are stored, without decoding."""

    @property
    def license(self) -> str:
        """SPDX identifier of the data, empty where it was not stated."""
        ...

    def stored(self, config: str, split: Split, index: int) -> StoredSample:
        """Sample `index` of a config in a split, its pictures as bytes; raises as `sample` does."""
        ...


class ExportedFile(NamedTuple):
    """A file that an exporter wrote, and how many samples it holds (0 for one that only describes others)."""

    path: Path
    samples: int


class ExportOptions(BaseModel):
    """The settings of an exporter: every field has a default and a description, and becomes a flag of its command."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


OptionsT = TypeVar("OptionsT", bound=ExportOptions)


class Exporter(ABC, Generic[OptionsT]):
    """A kind of files to export to. The first line of a subclass's docstring is what listings say of it."""

    name: ClassVar[str]
    options_type: ClassVar[type[ExportOptions]] = ExportOptions

    @abstractmethod
    def export(self, samples: StoredSamples, out: Path, options: OptionsT, advance: Advance) -> list[ExportedFile]:
        """Write all samples of both splits as files in `out`, an empty folder, and return the files.

        The folder gets its name once this returns, and is removed where it raises, so nothing need be undone here.
        Memory must not grow with the number of samples.

        Raises:
            UsageError: an option names what does not exist.
            Ssl4rlError: a sample cannot be read, or has no place in this kind of file.
        """
