"""95 % intervals of a mean score."""

import math
from collections.abc import Sequence

Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


def interval(scores: Sequence[float], items: Sequence[str]) -> tuple[float, float]:
    """Lower and upper bound of the mean score, both in [0, 1].

    Wilson's where every score is 0 or 1 and no item comes twice. Otherwise the percentile bootstrap over items, because
    questions about one item are not independent; where that has no width (all items score the same), Wilson's with as
    many trials as there are items, which is wider than the truth rather than narrower.

    Args:
        scores: in [0, 1], one for each question.
        items: what each question is about.
    """
    distinct = len(set(items))
    mean = sum(scores) / len(scores)
    if distinct == len(items) and all(score in (0.0, 1.0) for score in scores):
        return wilson(mean, len(scores))
    low, high = _bootstrap(scores, items)
    return (low, high) if low < high else wilson(mean, distinct)


def wilson(share: float, trials: int) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson, Probable Inference, 1927)."""
    scale = 1 + Z * Z / trials
    centre = (share + Z * Z / (2 * trials)) / scale
    half = Z / scale * math.sqrt(share * (1 - share) / trials + Z * Z / (4 * trials * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def _bootstrap(scores: Sequence[float], items: Sequence[str], draws: int = 2000) -> tuple[float, float]:
    """Percentiles of the mean over whole items drawn with replacement (Efron and Tibshirani, 1993), seed fixed."""
    import numpy as np

    _, item = np.unique(np.asarray(items, dtype=object).astype(str), return_inverse=True)
    totals = np.bincount(item, weights=np.asarray(scores, dtype=float))
    counts = np.bincount(item)
    rng = np.random.default_rng(0)
    # A draw at a time: 2,000 draws of 100,000 items at once would fill 1.6 GB.
    means = np.empty(draws)
    for draw in range(draws):
        chosen = rng.integers(len(totals), size=len(totals))
        means[draw] = totals[chosen].sum() / counts[chosen].sum()
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
