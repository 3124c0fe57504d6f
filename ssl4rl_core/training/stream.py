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

TRIES = 1000
"""How many samples of a config are tried for one that can be used: 10,000,000 pictures that fit no task take hours."""


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
        for config in weights:
            check_any(samples, config, split)
        self._weights = dict(weights)
        self.skipped: Counter[str] = Counter()
        """Samples passed over so far, by reason."""

    def __len__(self) -> int:
        """How many samples there are to draw from."""
        return sum(self._sizes.values())

    def references(self, batch: int, slots: int, weights: Mapping[str, float] | None = None) -> list[Reference]:
        """What stands in the slots of a batch, one reference a group.

        Configs are drawn by systematic sampling, so that each gets its share of every batch. A config that is alone has
        all its samples drawn, in a random order, before any comes twice. In a mix each walks the same kind of order at
        the slots that fall to it, so that some come twice in a pass and others not at all: one pass sees 75 % of the
        samples of two configs of one size, 70 % of three, 64 % of twelve.

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

    def sample(self, reference: Reference, *, counted: bool = True) -> Sample:
        """The sample, or where it cannot be had another of its config that can: one of the next hundred, or, because
        what does not fit often lies together, one from all over.

        Args:
            counted: note in `skipped` what is passed over; False where another process does.

        Raises:
            UsageError: none of as many as `TRIES` can be used.
        """
        size = self._sizes[reference.config]
        tried = min(size, TRIES)
        stride = size // TRIES | 1
        reasons: Counter[str] = Counter()
        for step in range(tried):
            index = (reference.index + step * (stride if step >= 100 else 1)) % size
            try:
                sample = self._samples.sample(reference.config, self._split, index)
                if self._check is not None:
                    self._check(sample)
            except Skip as skip:
                reasons[str(skip)] += 1
            else:
                if counted:
                    self.skipped += reasons
                return sample
        [(reason, _)] = reasons.most_common(1)
        some = "" if tried == size else f"{tried:,} that were tried of the "
        raise UsageError(
            f"none of the {some}{size:,} {self._split} samples of {reference.config} can be used: {reason}"
            f"{' (most of them)' if len(reasons) > 1 else ''}; give the task other params (NAME?param=value) or other "
            f"data{'' if self._check is None else ', or raise max_prompt_tokens'}"
        )


def check_any(samples: SampleSet, config: str, split: Split) -> None:
    """See that there are samples of a config in a split; UsageError where there are none."""
    if samples.size(config, split) == 0:
        other = "larger" if split == "test" else "smaller"
        raise UsageError(
            f"there are no {split} samples of {config}: take a {other} test fraction, or more items (a build is to be "
            "made anew with it; 'ssl4rl inspect' counts what was left out, and why), or leave that task out"
        )


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
