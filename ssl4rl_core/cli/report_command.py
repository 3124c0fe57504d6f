"""`ssl4rl report`: one page about one run or several."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ssl4rl_core.cli.app import app
from ssl4rl_core.cli.tables import text_console


@app.command("report")
def report_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders that train or eval left.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The page to write; by default RUN/report.html, of several ./report.html."),
    ] = None,
) -> None:
    """Write an HTML report about a run, or about several with their mean, and print what it finds.

    Example: [bold]ssl4rl report runs/seed-0 runs/seed-1 runs/seed-2 --out report.html[/bold]
    """
    from ssl4rl_core.training.report import report, report_path

    with Console(stderr=True).status("drawing curves"):
        findings = report(runs, out)
    console = text_console()
    for finding in findings:
        console.print(f"{finding.name}: {finding.verdict}. {' '.join(finding.sentences)}")
    console.print(str(report_path(runs, out)))
