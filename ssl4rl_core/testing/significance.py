"""Is a score above chance by more than luck? One-sided tests, and their adjustment for there being several."""

import math
import statistics
from collections.abc import Sequence

SIGNIFICANCE = 0.001


def above_chance(scores: Sequence[float], chances: Sequence[float]) -> float:
    """How likely luck does as well as `scores`, where each is expected to be its entry of `chances` (one-sided p).

    The binomial law where every score is 0 or 1 and the chance is one; else the normal law for the mean difference,
    which wants some hundred samples.
    """
    count = len(scores)
    if len(set(chances)) == 1 and 0 < chances[0] < 1 and all(score in (0, 1) for score in scores):
        return binomial_tail(round(sum(scores)), count, chances[0])
    differences = [score - chance for score, chance in zip(scores, chances, strict=True)]
    mean, deviation = statistics.fmean(differences), statistics.pstdev(differences)
    if deviation == 0:
        return 0.0 if mean > 1e-12 else 1.0
    # By the lower tail, which stays exact where the upper one is a difference from 1.
    return statistics.NormalDist().cdf(-mean / deviation * math.sqrt(count))


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
