"""Shards: a tar of samples that is the same bytes wherever it is written, and the sidecar that vouches for it."""

import hashlib
import os
import tarfile
from collections import Counter
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_builders.encoding import EXTENSIONS, encode
from data_builders.output import Output
from data_builders.plan import BuildOptions, Plan, Unit
from ssl4rl_core.atomic import partial_path, write_whole
from ssl4rl_core.samples import Sample, Split

# Where more right answers differ than this, counting each tells nobody anything.
MOST_ANSWERS = 64


class Sidecar(BaseModel):
    """What a shard holds. A shard without samples has a sidecar, and no tar."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Both become parts of a path, so neither may leave its folder.
    config: str = Field(pattern=r"^[^/\\\x00.][^/\\\x00]*$")
    split: Split
    shard: str = Field(pattern=r"^(train|test)-[0-9]{5,}-of-[0-9]{5,}$")
    """The tar's name without its extension."""
    samples: int
    bytes: int
    """The tar's size."""
    sha256: str
    """Of the tar; empty where there is none."""
    skips: dict[str, int]
    """Items left out, wholly or for some of their variants, by reason."""
    answers: dict[str, int]
    """Samples by right answer; empty where more than 64 differ."""

    def text(self) -> str:
        """What its file holds."""
        return self.model_dump_json() + "\n"


class ShardWriter:
    """One shard of one config, while it is written. Leaving the `with` block unfinished removes what was written."""

    def __init__(self, out: Path, config: str, unit: Unit, options: BuildOptions) -> None:
        self._config, self._unit, self._options = config, unit, options
        self._path = out / config / f"{unit.name}.tar"
        self._path.parent.mkdir(exist_ok=True)
        self._partial = partial_path(self._path)
        self._file = _HashedFile(self._partial)
        self._answers: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self._file.close()
        finally:  # on a full disk, closing fails too
            self._partial.unlink(missing_ok=True)

    def add(self, position: int, sample: Sample) -> None:
        """Append a sample of the item at `position`; positions come in order, and an item's variants too.

        Raises:
            Skip: a picture cannot be encoded.
        """
        key = f"{position:09d}-{sample.record.variant:05d}"
        extension = EXTENSIONS[self._options.image_format]
        pictures = [encode(image, self._options.image_format, self._options.quality) for image in sample.images]
        members = {f"{key}.{number:02d}.{extension}": picture for number, picture in enumerate(pictures)}
        members[f"{key}.json"] = sample.record.model_dump_json().encode()
        # In one piece: TarFile.addfile would write, and hash, each member in four.
        self._file.write(b"".join(piece for each in members.items() for piece in _member(*each)))
        self._answers[sample.record.answer_text] += 1

    def finish(self, skips: Counter[str]) -> None:
        """End the tar, put it in its place, and its sidecar after it."""
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))
        self._file.write(bytes(-self._file.tell() % tarfile.RECORDSIZE))
        self._file.sync()
        samples = self._answers.total()
        if samples:
            self._partial.replace(self._path)
        sidecar = Sidecar(
            config=self._config,
            split=self._unit.split,
            shard=self._unit.name,
            samples=samples,
            bytes=self._file.tell() if samples else 0,
            sha256=self._file.digest.hexdigest() if samples else "",
            skips=dict(sorted(skips.items())),
            answers=dict(sorted(self._answers.items())) if len(self._answers) <= MOST_ANSWERS else {},
        )
        write_whole(self._path.with_suffix(".json"), sidecar.text().encode())


# Plain USTAR holds only what is put into it, and TarInfo has mode 0644, time 0 and no owner unless told. Name, size and
# checksum are left to fill in, the checksum with blanks, as it is itself summed up (POSIX.1-2001, ustar header block).
_HEADER = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)
_NAME_TO_SIZE, _SIZE_TO_CHECKSUM, _REST = _HEADER[100:124], _HEADER[135:148], _HEADER[156:]
_SUM = sum(_NAME_TO_SIZE + _SIZE_TO_CHECKSUM + b" " * 8 + _REST)


def _member(name: str, data: bytes) -> tuple[bytes, ...]:
    """A member of a tar, piece by piece. `TarInfo.tobuf` would take nearly as long as hashing a picture does."""
    named, size = name.encode(), b"%011o" % len(data)
    checksum = b"%06o\0 " % (_SUM + sum(named) + sum(size))
    header = (named.ljust(100, b"\0"), _NAME_TO_SIZE, size, _SIZE_TO_CHECKSUM, checksum, _REST)
    return *header, data, bytes(-len(data) % tarfile.BLOCKSIZE)


# Bytes. In pieces of a megabyte, writing costs a fifth less than picture by picture (14 against 17 us for 45 KB).
_BUFFER = 2**20


class _HashedFile:
    """A new file, written from front to end and hashed on the way."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=_BUFFER)
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def finished_units(output: Output, plan: Plan) -> list[list[Sidecar] | None]:
    """For each unit of the plan its sidecars, one a config; None where any of its shards is not finished."""
    sizes = output.sizes()
    names = [[f"{config}/{unit.name}" for config in plan.configs_of(unit.kind)] for unit in plan.units]
    texts = output.read(name for each in names for shard in each if (name := f"{shard}.json") in sizes)
    return [_sidecars(shards, sizes, texts) for shards in names]


def _sidecars(shards: list[str], sizes: dict[str, int], texts: dict[str, bytes]) -> list[Sidecar] | None:
    found = []
    for shard in shards:
        try:
            sidecar = Sidecar.model_validate_json(texts[f"{shard}.json"])
        except (KeyError, ValidationError):
            return None
        if sidecar.samples and sizes.get(f"{shard}.tar") != sidecar.bytes:
            return None
        found.append(sidecar)
    return found
