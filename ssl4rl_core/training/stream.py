"""The order in which training sees samples, as references: a pure function of the seed and of where training stands.

A reference is a config and a number. What it stands for is rendered or read when its group's turn has come, so that
nothing grows with the length of a run or the number of generations, and a resumed run goes on where it stopped.
"""

import bisect
import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ssl4rl_core.errors import UsageError
from ssl4rl_core.samples import Sample, SampleSet, Split
from ssl4rl_core.tasks import Skip


class Reference(NamedTuple):
    """A sample by number."""

    config: str
    index: int


class Stream:
    """References to samples of a mix.

    Args:
        samples: where the samples are.
        weights: of each config, where a batch is not asked for with others; its share in every batch is exact to
            within one sample.
        seed: of the order.
        check: called with a sample before it is used; raises Skip to pass it over.

    Raises:
        UsageError: a config has no samples in the split.
    """

    def __init__(
        self,
        samples: SampleSet,
        weights: Mapping[str, float],
        *,
        seed: int = 0,
        split: Split = "train",
        check: Callable[[Sample], None] | None = None,
    ) -> None:
        self._samples, self._seed, self._check = samples, seed, check
        self._split: Split = split
        self._sizes = {config: samples.size(config, split) for config in weights}
        for config, size in self._sizes.items():
            if size == 0:
                raise UsageError(f"there are no {split} samples of {config}")
        self._weights = dict(weights)
        self.skipped: Counter[str] = Counter()
        """Samples passed over so far, by reason."""

    def __len__(self) -> int:
        """How many samples there are to draw from."""
        return sum(self._sizes.values())

    def references(self, batch: int, slots: int, weights: Mapping[str, float] | None = None) -> list[Reference]:
        """What stands in the slots of a batch, one reference a group.

        Configs are drawn by systematic sampling, so that each gets its share of every batch. A config's own samples
        come in a random order without repeats as long as it is alone; in a mix none comes twice within as many draws
        as it has samples.

        Args:
            weights: of the configs in this batch, as a curriculum has them; default: the stream's own.
        """
        weights = {config: weight for config, weight in (weights or self._weights).items() if weight > 0}
        configs, ends = list(weights), list(itertools.accumulate(weights.values()))
        offset = _number(self._seed, batch) / 2**64
        places = [bisect.bisect_right(ends, ends[-1] * (slot + offset) / slots) for slot in range(slots)]
        return [
            self._reference(configs[min(place, len(configs) - 1)], batch * slots + slot)
            for slot, place in enumerate(places)
        ]

    def _reference(self, config: str, drawn: int) -> Reference:
        size = self._sizes[config]
        epoch, position = divmod(drawn, size)
        return Reference(config, shuffled(position, size, _number(self._seed, config, epoch)))

    def sample(self, reference: Reference) -> Sample:
        """The sample, or where it cannot be had the next one of its config that can.

        Raises:
            UsageError: there is none.
        """
        size = self._sizes[reference.config]
        reason = ""
        for step in range(size):
            try:
                sample = self._samples.sample(reference.config, self._split, (reference.index + step) % size)
                if self._check is not None:
                    self._check(sample)
            except Skip as skip:
                reason = str(skip)
                self.skipped[reason] += 1
            else:
                return sample
        raise UsageError(f"none of the {size} {self._split} samples of {reference.config} can be used: {reason}")


def batches_of_a_pass(samples: int, slots: int, passes: int, accumulated: int) -> int:
    """Generation batches of one pass over the data, in whole optimizer steps.

    Args:
        samples: in all.
        slots: groups in a batch.
        passes: forward and backward passes that a batch is gone through in, slice by slice.
        accumulated: passes of an optimizer step.
    """
    whole = accumulated // math.gcd(accumulated, passes)
    return math.ceil(math.ceil(samples / slots) / whole) * whole


def shuffled(position: int, size: int, key: int, rounds: int = 4) -> int:
    """Where `position` of `range(size)` lands in a random order that is never held in memory.

    A Feistel network over the next power of four, walked until it falls inside the range (Black and Rogaway, Ciphers
    with Arbitrary Finite Domains, 2002).
    """
    bits = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << bits) - 1
    while True:
        left, right = position >> bits, position & mask
        for turn in range(rounds):
            left, right = right, left ^ (_number(key, turn, right) & mask)
        position = left << bits | right
        if position < size:
            return position


def _number(*parts: object) -> int:
    """A number in [0, 2**64) from what names it."""
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
