"""Runs of one recipe, which differ in their seed alone, and what sets several recipes apart."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from ssl4rl_core.training.run_folder import Run

_OF_A_RUN = ("seed", "output", "data.seed")
"""What seeds of one recipe differ in."""


@dataclass(frozen=True)
class RecipeGroup:
    """Runs of one recipe, under a name."""

    name: str
    runs: list[Run]


@dataclass(frozen=True)
class Difference:
    """A key of the recipes that they do not agree on, and its value in each group; "" where it is not set."""

    key: str
    values: list[str]


def by_recipe(runs: Sequence[Run]) -> list[RecipeGroup]:
    """The runs in groups of one recipe, in the order of their first run.

    Two runs are of one recipe when they differ in seed and output alone. A value that holds the run's seed as a number
    (`models/tiny-0`, `models/tiny-1`) is the same where it is the same but for that. Of a model that was only
    evaluated, what was asked stands for the recipe.
    """
    found: list[tuple[dict[str, Any], list[Run]]] = []
    for run in runs:
        settings = flat(run.settings())
        for first, mine in found:
            if _are_one(first, settings):
                mine.append(run)
                break
        else:
            found.append((settings, [run]))
    return [RecipeGroup(_name(mine, runs), mine) for _, mine in found]


def differences(groups: Sequence[RecipeGroup]) -> list[Difference]:
    """What sets the groups apart; in a group whose runs differ by seed, its first run's value stands for all."""
    settings = [flat(group.runs[0].settings()) for group in groups]
    return [Difference(key, [_shown(each.get(key)) for each in settings]) for key in _differing(settings)]


def flat(values: Any, name: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys; lists stay whole."""
    if not isinstance(values, Mapping):
        return {name: values}
    return {
        dotted: inner
        for key, value in values.items()
        for dotted, inner in flat(value, f"{name}.{key}" if name else str(key)).items()
    }


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for each in settings for key in each if key not in _OF_A_RUN)
    return [key for key in keys if any(each.get(key) != settings[0].get(key) for each in settings)]


def _are_one(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    seedless = _without_seed(first), _without_seed(second)
    return all(seedless[0].get(key) == seedless[1].get(key) for key in _differing((first, second)))


def _without_seed(settings: Mapping[str, Any]) -> dict[str, Any]:
    seed = re.compile(rf"(?<![0-9.]){re.escape(str(settings.get('seed')))}(?![0-9.])")
    return {key: seed.sub("SEED", value) if isinstance(value, str) else value for key, value in settings.items()}


def _name(mine: Sequence[Run], runs: Sequence[Run]) -> str:
    """What the names of these runs begin with, as long as no other run's does; or else all their names."""
    names = [run.name for run in mine]
    if len(names) == 1:
        return names[0]
    start = "".join(at[0] for at in takewhile(lambda at: len(set(at)) == 1, zip(*names, strict=False))).rstrip("-_./ ")
    if start and not any(run.name.startswith(start) for run in runs if run not in mine):
        return start
    return ", ".join(names)


def _shown(value: Any) -> str:
    """A value in words: "rotation:easy, jigsaw:easy" for the tasks of a mix, each with its weight where it is not 1."""
    if isinstance(value, Mapping):
        kept = {key: inner for key, inner in value.items() if inner is not None}
        if set(kept) == {"task", "weight"}:
            return f"{kept['task']}" + (f" × {kept['weight']:g}" if kept["weight"] != 1 else "")  # noqa: RUF001
        return ", ".join(f"{key}: {_shown(inner)}" for key, inner in kept.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_shown(inner) for inner in value)
    return "" if value is None else str(value)
