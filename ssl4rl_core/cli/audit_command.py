"""`ssl4rl audit`: whether something besides the content gives a task's answers away."""

import json
from typing import Annotated

import typer

from ssl4rl_core.bars import rate, samples_bar
from ssl4rl_core.cli.app import app
from ssl4rl_core.cli.tables import JsonOption, show, text_console
from ssl4rl_core.testing.audit import MIN_SAMPLES, AuditProgress, Finding, audit


@app.command("audit")
def audit_command(
    tasks: Annotated[
        list[str], typer.Argument(metavar="TASK[:LEVEL]...", help="Without a level: easy, medium and hard.")
    ],
    source: Annotated[str, typer.Option("--source", metavar="KIND:WHERE", help="What to ask about: folder:photos.")],
    samples: Annotated[int, typer.Option("--samples", min=MIN_SAMPLES, help="Samples of each task and level.")] = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seeds the samples and the order of items.")] = 0,
    max_side: Annotated[int, typer.Option("--max-side", min=1, help="Bring longer sides to this, pixels.")] = 256,
    as_json: JsonOption = False,
) -> None:
    """Probe tasks for answers that sizes, lengths, ids, option order or shown degrees give away.

    Example: [bold]ssl4rl audit rotation jigsaw:hard --source folder:photos[/bold]

    A classifier guesses the answers from all that a model could see besides the content. Where it beats the best
    constant guess, with p < 0.001 and by 3 points or more, the task leaks and the exit code is 1. A second one, on
    traces in the pixels (bytes, JPEG grid, borders, mean colour, sharpness), only warns.
    """
    console = text_console(stderr=True)
    with samples_bar(console) as bar:
        step = bar.add_task("", total=None, rate="?")

        def report(now: AuditProgress) -> None:
            bar.update(step, description=now.step, completed=now.done, total=now.of, rate=rate(bar, now.done))

        findings = audit(tasks, source, samples=samples, seed=seed, max_side=max_side, report=report)
    if as_json:
        print(json.dumps([finding.describe() for finding in findings], indent=2, ensure_ascii=False))
    else:
        counts = sorted({finding.result.n for finding in findings})
        title = f"answers guessed without the content, {' to '.join(map(str, counts))} samples of each config"
        show([_row(finding) for finding in findings], as_json=False, title=title)
    if any(finding.verdict == "LEAKS" for finding in findings):
        raise typer.Exit(1)


def _row(finding: Finding) -> dict[str, object]:
    low, high = finding.result.interval
    return {
        "config": finding.config,
        "probe": finding.probe,
        "guessed %": f"{100 * finding.result.score:.1f}",
        "95 %": f"{100 * low:.1f}-{100 * high:.1f}",
        "constant %": f"{100 * finding.result.chance:.1f}",
        "p": f"{finding.result.p_value:.2g}",
        "verdict": _verdict(finding),
    }


def _verdict(finding: Finding) -> str:
    told = finding.verdict == "warning" and finding.tells
    return f"{finding.verdict}: {', '.join(finding.tells)}" if told else finding.verdict
