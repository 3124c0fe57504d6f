"""Does a task give its answers away? Probes on what a model could tell without the content, config by config."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

from ssl4rl_core.configs import TaskConfig, parse_configs
from ssl4rl_core.errors import UsageError
from ssl4rl_core.plugins import registry
from ssl4rl_core.rendering import check_sides
from ssl4rl_core.samples import Record, Sample
from ssl4rl_core.sources import Source
from ssl4rl_core.testing.graph_questions import degree_features
from ssl4rl_core.testing.image_statistics import TRACES, image_statistics
from ssl4rl_core.testing.probe import Features, ProbeResult, adjusted, blind_features, new_classifier, probe_rows
from ssl4rl_core.testing.sampling import draw_samples

ProbeName = Literal["blind", "degrees", "traces"]
MIN_SAMPLES = 50


class AuditProgress(NamedTuple):
    """How far an audit is: what it does now, and how many samples are rendered of all that there will be."""

    step: str
    done: int
    of: int


Report = Callable[[AuditProgress], None]


@dataclass(frozen=True)
class Finding:
    """What one probe found on one config.

    `blind` sees sizes, lengths, numbers, option order and ids; `degrees` the number of edges that a graph question
    shows of each node; `traces` low-level statistics of the pictures.
    """

    config: str
    probe: ProbeName
    result: ProbeResult
    binding: bool
    """Whether an answer that this probe guesses is a fault; else it is a warning."""
    tells: tuple[str, ...] = ()
    """Where `traces` beats chance: the kinds of traces that do so on their own."""

    @property
    def verdict(self) -> Literal["passes", "warning", "LEAKS"]:
        """A probe passes unless it beats chance with p < 0.001 and by 3 points or more."""
        if self.result.passes:
            return "passes"
        return "LEAKS" if self.binding else "warning"

    def describe(self) -> dict[str, Any]:
        """The finding as JSON values."""
        low, high = self.result.interval
        return {
            "config": self.config,
            "probe": self.probe,
            "n": self.result.n,
            "score": self.result.score,
            "low": low,
            "high": high,
            "chance": self.result.chance,
            "p_value": self.result.p_value,
            "verdict": self.verdict,
            "tells": list(self.tells) if self.verdict == "warning" else [],
        }


def audit(
    tasks: Sequence[str | TaskConfig],
    source: str | Source,
    *,
    samples: int = 2000,
    seed: int = 0,
    max_side: int = 256,
    report: Report = lambda progress: None,
) -> list[Finding]:
    """Probe tasks for answers that something besides the content gives away.

    Each probe is gradient boosting, scored on folds that keep items of one group together, beside the best constant
    guess. p values are one-sided and adjusted (Holm) for all configs that a probe sees. Samples of one group count
    together, so what goes with whole pictures, and not with their variants, shows in ten or more. A downstream
    task's answers are labels, which sizes and degrees may go with: there every probe only warns.

    Args:
        tasks: `NAME[:LEVEL][?param=value&...]`, a task without a level meaning easy, medium and hard; or configs.
        source: a source or its spec, `folder:photos`.
        samples: how many of each config, 50 or more.
        seed: of the samples and of the order of items.
        max_side: longer sides of pictures are brought to this, pixels.
        report: called as the audit goes on.

    Returns:
        The findings, by probe and config; the tasks pass where no verdict is "LEAKS".

    Raises:
        UsageError: a task, level, param or source is not known, or the source cannot serve: too few items, or none that
            a task can ask about.
        MissingExtra: scikit-learn is not installed.
    """
    if samples < MIN_SAMPLES:
        raise UsageError(f"an audit needs {MIN_SAMPLES} samples or more of each config, got {samples}")
    configs = parse_configs(tasks, registry())
    if not configs:
        raise UsageError("no task to audit: name one, such as rotation or rotation:hard")
    for config in configs:
        check_sides(config, max_side)
    new_classifier()  # what is missing is said before anything is rendered
    opened = registry().source(source) if isinstance(source, str) else source
    findings = []
    # One config after the other: an item is read anew for each, but only one config's features are held.
    for number, config in enumerate(configs):
        gathered = _Gathered(config)
        for done, (_, sample) in enumerate(draw_samples([config], opened, samples, seed=seed, max_side=max_side)):
            gathered.add(sample)
            report(AuditProgress(f"{config.name}: rendering", number * samples + done, len(configs) * samples))
        report(AuditProgress(f"{config.name}: probing", (number + 1) * samples, len(configs) * samples))
        findings += gathered.findings()
    return [finding for name in get_args(ProbeName) for finding in _adjusted(findings, name)]


class _Gathered:
    """The records of one config's samples, and what each probe sees of them."""

    def __init__(self, config: TaskConfig) -> None:
        self.config = config
        self.features: dict[ProbeName, Features] = {"blind": blind_features}
        if config.task.domain == "graph":
            self.features["degrees"] = degree_features
        else:
            self.features["traces"] = image_statistics
        self.records: list[Record] = []
        self.rows: dict[ProbeName, list[Mapping[str, float]]] = {name: [] for name in self.features}

    def add(self, sample: Sample) -> None:
        self.records.append(sample.record)
        for name, features in self.features.items():
            self.rows[name].append(features(sample))

    def findings(self) -> Iterator[Finding]:
        """What the probes find, before several configs are allowed for."""
        for name, rows in self.rows.items():
            result = probe_rows(self.records, rows)
            tells = self._tells() if name == "traces" and not result.passes else ()
            yield Finding(self.config.name, name, result, name != "traces" and self.config.task.reward, tells)

    def _tells(self) -> tuple[str, ...]:
        """The kinds of traces that beat chance on their own."""
        results = adjusted(
            [probe_rows(self.records, [_only(trace, r) for r in self.rows["traces"]]) for trace in TRACES]
        )
        return tuple(trace for trace, result in zip(TRACES, results, strict=True) if not result.passes)


def _only(trace: str, row: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name.startswith(f"{trace}:")}


def _adjusted(findings: Sequence[Finding], name: ProbeName) -> list[Finding]:
    """One probe's findings, with p values that allow for there being several configs."""
    found = [finding for finding in findings if finding.probe == name]
    return [replace(f, result=r) for f, r in zip(found, adjusted([f.result for f in found]), strict=True)]
