"""The order of training: a pure function of the seed and the batch, each group rendered once."""

import itertools
from collections import Counter

import pytest

from ssl4rl_core.errors import UsageError
from ssl4rl_core.samples import Record, Sample
from ssl4rl_core.tasks import Skip
from ssl4rl_core.training.stream import Reference, Stream, batches_of_a_pass, shuffled


class Counted:
    """A sample set that counts what is asked of it; `broken` numbers cannot be had."""

    def __init__(self, sizes: dict[str, int], broken: frozenset[int] = frozenset()) -> None:
        self.sizes, self.broken = sizes, broken
        self.configs = list(sizes)
        self.asked: list[Reference] = []

    def size(self, config: str, split: str) -> int:
        return self.sizes[config] if split == "train" else 0

    def sample(self, config: str, split: str, index: int) -> Sample:
        self.asked.append(Reference(config, index))
        if index in self.broken:
            raise Skip("broken")
        return Sample(Record.model_construct(item=str(index)))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 100, 1000])
def test_a_shuffle_is_a_permutation(size):
    for key in (0, 1):
        assert sorted(shuffled(position, size, key) for position in range(size)) == list(range(size))


def test_a_shuffle_is_random():
    orders = {tuple(shuffled(position, 50, key) for position in range(50)) for key in range(20)}
    assert len(orders) == 20
    firsts = Counter(shuffled(0, 4, key) for key in range(2000))
    assert all(400 < firsts[place] < 600 for place in range(4))
    moved = [shuffled(position, 1000, 7) for position in range(1000)]
    assert sum(abs(a - b) < 10 for a, b in itertools.pairwise(moved)) < 60


def test_a_shuffle_of_a_hundred_million_costs_nothing():
    assert 0 <= shuffled(99_999_999, 100_000_000, 3) < 100_000_000


def test_a_config_alone_is_seen_whole_before_anything_comes_twice():
    stream = Stream(Counted({"a": 48}), {"a": 1.0})
    seen = [reference.index for batch in range(6) for reference in stream.references(batch, 16)]
    assert sorted(seen[:48]) == list(range(48))
    assert sorted(seen[48:]) == list(range(48))
    assert seen[:48] != seen[48:]


def test_batches_depend_on_seed_and_number_alone():
    def order(seed: int, batches: list[int]) -> list[list[Reference]]:
        stream = Stream(Counted({"a": 100, "b": 70}), {"a": 1.0, "b": 2.0}, seed=seed)
        return [stream.references(batch, 8) for batch in batches]

    assert order(0, [5, 6]) == order(0, [0, 1, 2, 3, 4, 5, 6])[5:]
    assert order(0, [5]) != order(1, [5])


def test_weights_hold_in_every_batch():
    stream = Stream(Counted({"a": 100, "b": 100, "c": 100}), {"a": 1.0, "b": 2.0, "c": 5.0})
    total: Counter[str] = Counter()
    for batch in range(200):
        drawn = Counter(reference.config for reference in stream.references(batch, 16))
        assert (drawn["a"], drawn["b"], drawn["c"]) == (2, 4, 10)
        total += drawn
    uneven = Stream(Counted({"a": 100, "b": 100}), {"a": 1.0, "b": 9.0})
    share = Counter(reference.config for batch in range(500) for reference in uneven.references(batch, 8))["a"] / 4000
    assert share == pytest.approx(0.1, abs=0.01)


def test_what_cannot_be_had_gives_way_to_the_next():
    samples = Counted({"a": 5}, broken=frozenset({3, 4}))
    stream = Stream(samples, {"a": 1.0})
    assert stream.sample(Reference("a", 3)).record.item == "0"
    assert samples.asked == [Reference("a", 3), Reference("a", 4), Reference("a", 0)]
    assert stream.skipped == {"broken": 2}


def test_a_config_of_which_nothing_can_be_had_says_why():
    stream = Stream(Counted({"a": 2}, broken=frozenset({0, 1})), {"a": 1.0})
    with pytest.raises(UsageError, match="none of the 2 train samples of a can be used: broken"):
        stream.sample(Reference("a", 0))
    with pytest.raises(UsageError, match="no test samples of a"):
        Stream(Counted({"a": 2}), {"a": 1.0}, split="test")


def test_a_task_that_fits_no_item_is_given_up_after_a_thousand():
    samples = Counted({"a": 3000}, broken=frozenset(range(3000)))
    stream = Stream(samples, {"a": 1.0})
    with pytest.raises(UsageError, match=r"none of the 1,000 that were tried of the 3,000 .* of a .*: broken; give .*"):
        stream.sample(Reference("a", 7))
    assert len(samples.asked) == 1000


def test_the_reason_that_is_given_is_the_most_common():
    def check(sample: Sample) -> None:
        raise Skip("too wide" if sample.record.item == "4" else "too long")

    stream = Stream(Counted({"a": 5}), {"a": 1.0}, check=check)
    with pytest.raises(UsageError, match=r"too long \(most of them\).*max_prompt_tokens"):
        stream.sample(Reference("a", 0))


@pytest.mark.parametrize("size", [40_000, 100_001])
def test_a_long_stretch_that_does_not_fit_is_left_behind(size):
    samples = Counted({"a": size}, broken=frozenset(range(100, size // 2)))
    index = int(Stream(samples, {"a": 1.0}).sample(Reference("a", 100)).record.item)
    assert not 100 <= index < size // 2
    assert len(samples.asked) <= 501


def test_a_sample_can_be_refused():
    def check(sample: Sample) -> None:
        if int(sample.record.item) < 3:
            raise Skip("too long")

    stream = Stream(Counted({"a": 5}), {"a": 1.0}, check=check)
    assert stream.sample(Reference("a", 1)).record.item == "3"
    assert stream.skipped == {"too long": 2}


@pytest.mark.parametrize(
    ("samples", "slots", "passes", "accumulated", "batches"),
    [(10_241, 512, 80, 20, 21), (5_000, 512, 80, 20, 10), (24, 4, 2, 4, 6), (20, 4, 2, 4, 6), (1, 4, 3, 2, 2)],
)
def test_a_pass_over_the_data_is_of_whole_optimizer_steps_and_no_longer(samples, slots, passes, accumulated, batches):
    assert batches_of_a_pass(samples, slots, passes, accumulated) == batches
