"""`ssl4rl push`: a build, published on the Hub."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal

import data_builders
from data_builders.exporters.hub import Published
from ssl4rl_core.bars import bytes_bar
from ssl4rl_core.cli.app import app
from ssl4rl_core.cli.tables import JsonOption, show, text_console
from ssl4rl_core.errors import Stopped


@app.command("push")
def push(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that 'ssl4rl build' wrote.")],
    repo: Annotated[str, typer.Argument(metavar="USER/NAME", help="The dataset on the Hub; made where there is none.")],
    private: Annotated[bool, typer.Option("--private", help="Make it a private one.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be uploaded and deleted.")] = False,
    revision: Annotated[str, typer.Option(metavar="BRANCH", help="Publish on this branch.")] = "main",
    as_json: JsonOption = False,
) -> None:
    """Publish a finished build as a dataset on the Hub: [bold]ssl4rl push data/photos user/name[/bold]

    Only what changed is uploaded; run again after an interruption, the same command goes on. Log in first with
    'hf auth login', or set HF_TOKEN.
    """
    from huggingface_hub.utils import disable_progress_bars

    console = text_console(stderr=True)
    if not console.is_terminal:
        disable_progress_bars()
    try:
        with bytes_bar(console) as bar:
            step = bar.add_task("checking shards", total=None)

            def report(checked: int, in_all: int) -> None:
                bar.update(step, completed=checked, total=in_all)
                if checked == in_all:
                    bar.stop()  # the upload has huggingface_hub's own bars

            options = {"private": private, "dry_run": dry_run, "revision": revision}
            published = data_builders.push(directory, repo, progress=report, **options)
    except KeyboardInterrupt:
        raise Stopped("interrupted: run the same command again to go on") from None
    if as_json:
        print(json.dumps(asdict(published), indent=2, ensure_ascii=False))
        return
    _say(published)


def _say(published: Published) -> None:
    console = text_console()
    uploaded = published.uploaded
    if published.dry_run:
        rows = [{"file": path, "size": decimal(size), "would be": "uploaded"} for path, size in uploaded.items()]
        rows += [{"file": path, "size": "", "would be": "deleted"} for path in published.deleted]
        show(rows, as_json=False, empty=f"nothing to upload: {published.repo} holds this build")
    would = "would be " if published.dry_run else ""
    console.print(
        f"\n{would}uploaded: {len(uploaded)} files, {decimal(sum(uploaded.values()))}; "
        f"{would}deleted: {len(published.deleted)}; there already: {published.unchanged}",
    )
    if not published.dry_run:
        console.print(f"{published.url}\n\n{published.load}")
