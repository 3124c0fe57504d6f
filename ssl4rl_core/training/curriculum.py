"""Which levels training sees, and when: shares of the configs in a batch, from the weights and from how training goes.

A curriculum is asked before each generation batch and told of every group's accuracy after it. Its state is a few
numbers of JSON, kept in every checkpoint, so that a run resumed at the end of a batch draws what the undisturbed one
would have drawn. Resumed within a batch, it begins that one anew.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from ssl4rl_core.configs import parse_configs
from ssl4rl_core.errors import UsageError
from ssl4rl_core.plugins import registry
from ssl4rl_core.training.recipe import Recipe


class Curriculum(ABC):
    """Shares of the configs, which sum to 1."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        total = sum(weights.values())
        self.weights = {config: weight / total for config, weight in weights.items()}

    @abstractmethod
    def shares(self, progress: float) -> dict[str, float]:
        """The share of each config in the next batch, when `progress` of the training, in [0, 1), is done."""

    def observe(self, config: str, accuracy: float) -> None:  # noqa: B027  most have nothing to learn from it
        """Take in one group: the mean score of its answers, in [0, 1]."""

    def state(self) -> dict[str, Any]:
        """All that `observe` has taught, as JSON."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Go on from what `state` returned."""


class Uniform(Curriculum):
    """The recipe's weights, throughout."""

    def shares(self, progress: float) -> dict[str, float]:
        return self.weights


class Schedule(Curriculum):
    """Other weights in each of several phases, fixed in advance.

    Args:
        weights: the recipe's, for what comes after the last phase.
        phases: in order; of configs that a phase does not name there are none in it.
    """

    def __init__(self, weights: Mapping[str, float], phases: Sequence[tuple[float, Mapping[str, float]]]) -> None:
        super().__init__(weights)
        self._phases = [(until, Uniform({**dict.fromkeys(weights, 0.0), **named})) for until, named in phases]

    def shares(self, progress: float) -> dict[str, float]:
        for until, phase in self._phases:
            if progress < until:
                return phase.weights
        return self.weights


class Goldilocks(Curriculum):
    """Of each task, the levels that are neither too hard nor too easy for the model as it is now.

    A task keeps its weight; within it a level with running accuracy p gets a share in proportion to p (1 - p): the
    variance of a right-or-wrong reward, and with it the chance that a group has any spread to learn from. A floor keeps
    the others in sight, so that their accuracy is not what it was long ago.

    Args:
        weights: of the configs; a level's weight multiplies p (1 - p).
        tasks: the task of each config.
        floor: the part of a task's weight, in [0, 1], that its levels share by weight alone.
        window: groups of a level that its running accuracy looks back on: their mean until there are about half as
            many, from then on an exponential mean with decay 2 / (window + 1). It is 1/2 before there is any.
    """

    def __init__(
        self, weights: Mapping[str, float], tasks: Mapping[str, str], *, floor: float = 0.2, window: int = 64
    ) -> None:
        super().__init__(weights)
        self._tasks, self._floor, self._decay = tasks, floor, 2 / (window + 1)
        self._accuracy: dict[str, float] = {}
        self._groups: dict[str, int] = {}

    def shares(self, progress: float) -> dict[str, float]:
        shares = {}
        for task in dict.fromkeys(self._tasks[config] for config in self.weights):
            mine = {config: weight for config, weight in self.weights.items() if self._tasks[config] == task}
            total = sum(mine.values())
            pull = {config: weight * self._spread(config) for config, weight in mine.items()}
            pulled = sum(pull.values())
            for config, weight in mine.items():
                part = pull[config] / pulled if pulled else weight / total
                shares[config] = self._floor * weight + (1 - self._floor) * total * part
        return {config: shares[config] for config in self.weights}

    def _spread(self, config: str) -> float:
        accuracy = self._accuracy.get(config, 0.5)
        return accuracy * (1 - accuracy)

    def observe(self, config: str, accuracy: float) -> None:
        seen = self._groups.get(config, 0) + 1
        before = self._accuracy.get(config, accuracy)
        self._accuracy[config] = before + max(self._decay, 1 / seen) * (accuracy - before)
        self._groups[config] = seen

    def state(self) -> dict[str, Any]:
        return {"accuracy": dict(self._accuracy), "groups": dict(self._groups)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._accuracy, self._groups = dict(state["accuracy"]), dict(state["groups"])


def make_curriculum(recipe: Recipe, weights: Mapping[str, float], tasks: Mapping[str, str]) -> Curriculum:
    """The curriculum that a recipe asks for.

    Args:
        weights: of the configs.
        tasks: the task of each config.

    Raises:
        UsageError: a phase names a task that is none of the recipe's.
    """
    settings = recipe.curriculum
    if settings.kind == "goldilocks":
        return Goldilocks(weights, tasks, floor=settings.floor, window=settings.window)
    if settings.kind == "uniform":
        return Uniform(weights)
    phases = []
    for number, phase in enumerate(settings.phases):
        named: dict[str, float] = {}
        for task in phase.tasks:
            where = recipe.where("curriculum", "phases", number, "tasks")
            configs = _meant(task.task, weights, tasks)
            if not configs:
                raise UsageError(f"{where}: {task.task} is none of the recipe's: {', '.join(weights)}")
            if twice := named.keys() & set(configs):
                raise UsageError(f"{where}: {min(twice)} is named twice: name each task and level once")
            named |= {config: task.weight / len(configs) for config in configs}
        phases.append((phase.until, named))
    return Schedule(weights, phases)


def _meant(spec: str, weights: Mapping[str, float], tasks: Mapping[str, str]) -> list[str]:
    """The configs among the recipe's that a task, one at a level, or one with params means."""
    wanted = {spec.replace(":", "-", 1)}
    if "?" in spec:
        wanted = {config.name for config in parse_configs([spec], registry())}
    return [config for config in weights if config in wanted or tasks[config] in wanted]
