"""Checks of what is earned without looking: blind guessers against chance, adversaries against the verifier."""

import math
from collections.abc import Iterator, Sequence

from ssl4rl_core.configs import TaskConfig
from ssl4rl_core.testing.adversaries import ADVERSARIES, Adversary, Trial, adjusted, try_adversaries
from ssl4rl_core.testing.checks.answers import FORMATS
from ssl4rl_core.testing.checks.outcome import CannotRender, Fault
from ssl4rl_core.testing.checks.subject import Subject
from ssl4rl_core.testing.significance import groups_needed
from ssl4rl_core.testing.spellings import honest_spellings
from ssl4rl_core.verification import verify

SAMPLES = 300
FEW = 8
LONG = 32
"""Samples for adversaries of a megabyte: as many as tell a score of 1 from chance, allowing for all adversaries."""
OVERSTATED = 0.03
"""Chance may lie this much above what the best guesser earns, besides luck: guessers here are simple."""
_GUESSERS = ("a constant", "another constant", "the most frequent", "a uniform draw")


def chance(subject: Subject) -> Iterator[Fault | str]:
    """No guesser that does not look earns more than the stated chance, and the best earns as much."""
    # About the content a question may be as it is: of few pictures, one side may be the brighter one in most.
    guessers = [adversary for adversary in ADVERSARIES if adversary.name in _GUESSERS]
    trials: list[Trial] = []
    subject = _unrelated(subject)
    for config in subject.configs:
        stated = [sample.record.chance for sample in subject.samples(config, SAMPLES)]
        where = f"{subject.where('chance')} (level {config.level})"
        if not all(0 <= value < 1 for value in stated):
            yield Fault("a chance from 0 to 1, 1 left out", str(max(stated, key=abs)), where)
            continue
        tried = _try(subject, config, SAMPLES, guessers)
        trials += tried
        best = max(tried, key=lambda trial: trial.score)
        luck = 5 * max(best.error, math.sqrt(best.chance * (1 - best.chance) / best.n))
        if best.score < best.chance - max(OVERSTATED, luck):
            came = f"the best guesser ({best.adversary}) earned {best.score:.3f} over {best.n} samples"
            yield Fault(f"the best guesser's score, stated as {best.chance:.3f}", came, where)
    above = _above(trials)
    for config in subject.configs:
        # A chance that is too low is so for nearly all guessers: the level is at fault once.
        earned = [trial for trial in above if trial.config == config.name]
        if earned:
            best = max(earned, key=lambda trial: trial.score)
            guesser = f"{best.adversary}, the best guesser (p = {best.p_value:.1g})"
            came = f"{best.score:.3f} over {best.n} samples by {guesser}"
            where = f"{subject.where('chance')} (level {config.level})"
            yield Fault(f"at most {best.chance:.3f} without looking", came, where)
    yield from _too_few(subject, trials, SAMPLES)


def hardening(subject: Subject) -> Iterator[Fault | str]:
    """Every honest spelling of the right answer scores 1, and no trick earns more than a blind guess."""
    short = [adversary for adversary in ADVERSARIES if "megabyte" not in adversary.name]
    long = [adversary for adversary in ADVERSARIES if "megabyte" in adversary.name]
    trials, best, unrelated = [], {}, _unrelated(subject)
    for config in subject.configs:
        if fault := _spelling_fault(subject, config):
            yield fault
        tried = [*_try(unrelated, config, SAMPLES // 3, short), *_try(unrelated, config, LONG, long)]
        # Where chance itself is stated too low, that is the chance check's to say.
        best[tried[0].config] = max(trial.score for trial in tried if trial.adversary in _GUESSERS)
        trials += tried
    for trial in _above(trials):
        guessed = best[trial.config]
        # Never so much that a verifier which takes everything would stay below it.
        luck = min(4 * math.sqrt(0.25 / trial.n), (1 - guessed) / 2)
        if trial.score > guessed + luck:
            level = trial.config.removeprefix(f"{subject.task.name}-")
            came = f"{trial.score:.3f} over {trial.n} samples (p = {trial.p_value:.1g})"
            expected = f"at most {trial.chance:.3f} for the adversary '{trial.adversary}'"
            yield Fault(expected, came, f"{subject.where('verify')}, or the answer's parse (level {level})")
            return
    yield f"{len(ADVERSARIES)} adversaries"
    yield from _too_few(unrelated, trials, SAMPLES // 3)


def _unrelated(subject: Subject) -> Subject:
    """The subject asked about more items; a task that fails on those alone is told so by one of these checks."""
    for config in subject.configs:
        subject.samples(config, FEW)
        try:
            subject.wide.samples(config, SAMPLES)
        except CannotRender as error:
            raise CannotRender("chance", error.fault) from error
    return subject.wide


def _try(subject: Subject, config: TaskConfig, count: int, adversaries: Sequence[Adversary]) -> list[Trial]:
    records = [sample.record for sample in subject.samples(config, count)]
    return try_adversaries(records, FORMATS[0], subject, adversaries=adversaries)


def _above(trials: Sequence[Trial]) -> list[Trial]:
    """Those that earned more than chance by more than luck, the worst first."""
    above = [trial for trial in adjusted(trials) if not trial.passes and trial.score > trial.chance]
    return sorted(above, key=lambda trial: (trial.p_value, -trial.score))


def _too_few(subject: Subject, trials: Sequence[Trial], count: int) -> Iterator[str]:
    """A note where `count` samples are about so few items that no score could be told from luck."""
    if not trials:
        return
    found = min(len({s.record.group for s in subject.samples(config, count)}) for config in subject.configs)
    needed = groups_needed(len(trials), max(trial.chance for trial in trials))
    if found < min(needed, count):
        name = subject.source.name
        yield f"{name} gave {found} unrelated items: a score above chance is told from luck in {needed} or more"


def _spelling_fault(subject: Subject, config: TaskConfig) -> Fault | None:
    for sample in subject.samples(config, FEW):
        for spelling in honest_spellings(subject.answer(sample)):
            verdict = verify(sample.record, FORMATS[0].wrap(spelling), FORMATS[0], subject)
            if verdict.score != 1:
                where = f"{subject.where('verify')}, or the answer's parse (level {config.level})"
                expected = f"score 1 for {spelling!r:.80}, a spelling of {sample.record.answer_text!r:.80}"
                return Fault(expected, str(verdict.score), where)
    return None
