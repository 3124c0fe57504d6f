"""Is a score above chance by more than luck? One-sided tests, and their adjustment for there being several."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

SIGNIFICANCE = 0.001


def above_chance(scores: Sequence[float], chances: Sequence[float], groups: Sequence[str] = ()) -> float:
    """How likely luck does as well as `scores`, where each is expected to be its entry of `chances` (one-sided p).

    The binomial law where every score is 0 or 1 and the chance is one; else the normal law for the mean difference,
    which wants some hundred samples. Both take the samples for independent. Where several share a group, the groups
    are: a picture that decides the answer decides it for all of its variants.

    Args:
        groups: what each sample is about; left out where no two are about the same.
    """
    count = len(scores)
    if len(unrelated := set(groups)) < len(groups):
        p_value = above_zero([score - chance for score, chance in zip(scores, chances, strict=True)], groups)
        if (chance := statistics.fmean(chances)) <= 1 / 2 or chance >= 1:
            return p_value
        # Where most are right by chance, a few groups without a failure look surer than they are: count the groups.
        right = math.floor(statistics.fmean(scores) * len(unrelated) + 1e-9)
        return max(p_value, binomial_tail(right, len(unrelated), chance))
    if len(set(chances)) == 1 and 0 < chances[0] < 1 and all(score in (0, 1) for score in scores):
        return binomial_tail(round(sum(scores)), count, chances[0])
    differences = [score - chance for score, chance in zip(scores, chances, strict=True)]
    mean, deviation = statistics.fmean(differences), statistics.pstdev(differences)
    if deviation == 0:
        return 0.0 if mean > 1e-12 else 1.0
    # By the lower tail, which stays exact where the upper one is a difference from 1.
    return statistics.NormalDist().cdf(-mean / deviation * math.sqrt(count))


def above_zero(differences: Sequence[float], groups: Sequence[str]) -> float:
    """How likely luck gives so large a sum of differences that are 0 in the mean, only groups being independent.

    The normal law for the sum over the root of the sum of squares, group by group: for symmetric differences its tail
    is bounded like the normal one's whatever their sizes (B. Efron, "Student's t-test under symmetry conditions",
    1969). Less than ten groups can never be sure: all may fall on one side by luck.
    """
    sums: dict[str, float] = defaultdict(float)
    for difference, group in zip(differences, groups, strict=True):
        sums[group] += difference
    squares = math.fsum(each * each for each in sums.values())
    return statistics.NormalDist().cdf(-math.fsum(sums.values()) / math.sqrt(squares)) if squares > 1e-24 else 1.0


def groups_needed(tests: int, chance: float = 0) -> int:
    """In how many groups `above_chance` can be sure at all, where Holm allows for so many tests: all being right.

    Args:
        chance: the expected score of a guess, below 1.
    """
    sure = SIGNIFICANCE / tests
    needed = statistics.NormalDist().inv_cdf(sure) ** 2
    return math.ceil(max(needed, math.log(sure) / math.log(chance)) if chance > 1 / 2 else needed)


def matched(pairs: Iterable[tuple[str, str, str]]) -> float:
    """How likely luck matches guesses with answers as well, were the answers of each item dealt out anew among its own.

    Nothing is asked of the items, so this holds for few of them, and says nothing where an item has one answer only.

    Args:
        pairs: of each sample the item, the guess and the answer.
    """
    of: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for item, guess, answer in pairs:
        of[item].append((guess, answer))
    hits = count = 0
    expected = variance = 0.0
    for dealt in of.values():
        guesses, answers = Counter(guess for guess, _ in dealt), Counter(answer for _, answer in dealt)
        if len(guesses) < 2 or len(answers) < 2:
            continue
        n, ways = len(dealt), {name: guesses[name] * answers[name] for name in guesses}
        both = sum(ways.values())
        crowded = sum(way * (guesses[name] + answers[name]) for name, way in ways.items())
        hits += sum(guess == answer for guess, answer in dealt)
        count += n
        expected += both / n
        variance += (both * both - n * crowded + n * n * both) / (n * n * (n - 1))
    if variance <= 0:
        return 1.0
    normal = statistics.NormalDist().cdf((expected - hits) / math.sqrt(variance))
    # Few hits are skewed, which the normal law does not see.
    return max(normal, binomial_tail(hits, count, expected / count))


def binomial_tail(successes: int, trials: int, share: float) -> float:
    """The probability of so many successes or more, each having the probability `share`, in (0, 1)."""
    yes, no = math.log(share), math.log1p(-share)
    terms = (
        math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * yes + (trials - k) * no
        for k in range(successes, trials + 1)
    )
    return min(1.0, math.fsum(map(math.exp, terms)))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values, adjusted: S. Holm, "A simple sequentially rejective multiple test procedure" (1979)."""
    adjusted, highest = list(p_values), 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = highest
    return adjusted
