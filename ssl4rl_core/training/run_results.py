"""Several runs looked at together: the configs they are of, and the results that each has of one."""

from collections.abc import Sequence

from ssl4rl_core.training.recipe_groups import RecipeGroup
from ssl4rl_core.training.run_folder import Result, Run

_REWARDS = "rewards/answer/"


def runs_of(groups: Sequence[RecipeGroup]) -> list[Run]:
    """The runs of all recipes, recipe by recipe."""
    return [run for group in groups for run in group.runs]


def config_names(runs: Sequence[Run]) -> list[str]:
    """The configs that the runs have results of, in the order of their first result."""
    return list(dict.fromkeys(result.config for run in runs for result in run.results))


def trained_configs(runs: Sequence[Run]) -> list[str]:
    """The configs that were rewarded, by their first result; then those known from the steps alone."""
    evaluated = [result.config for run in runs for result in run.results if not result.downstream]
    keys = [key for run in runs for line in run.metrics for key in line]
    logged = [key.removeprefix(_REWARDS) for key in keys if key.startswith(_REWARDS)]
    return list(dict.fromkeys(evaluated + logged))


def results_of(config: str, runs: Sequence[Run]) -> list[Result]:
    """All results of a config, at whatever stage."""
    return [result for run in runs for result in run.results if result.config == config]


def results_at(stage: str, config: str, runs: Sequence[Run]) -> list[Result]:
    """The results of a config at a stage: the newest of each run that has one."""
    return [result for run in runs if (result := run.result(config, stage)) is not None]
