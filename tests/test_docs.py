"""The docs say what is so: every block of code on their pages runs as it is printed, page by page, and they build.

A page's blocks run in their order in one empty folder, with a clone's `examples` and `recipes` beside them. A comment
in the page says what else is there, or why a block is not run:

    <!-- given: photos -->
    <!-- not run: needs a GPU -->

What is not run is read: commands and their flags exist, Python compiles. YAML is always validated as a recipe.
"""

import ast
import contextlib
import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from ssl4rl_core.cli.app import COMMANDS, app
from ssl4rl_core.training.recipe import parse_recipe
from tests.hub_server import TOKEN, serving

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
_COMMENT = re.compile(r"<!-- (?P<word>given|not run): (?P<what>.+?) -->")
_FENCE = re.compile(r"```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?")
_RUN = {"bash", "python"}
_LANGUAGES = {*_RUN, "yaml", "toml"}


class Block(NamedTuple):
    """A block of code; with a title, the file that a reader puts it into."""

    line: int
    language: str
    title: str
    code: str
    not_run: str


class Given(NamedTuple):
    """What the page takes for granted from here on."""

    what: str


def read_page(path: Path) -> list[Block | Given]:
    """The blocks of a page and what is given between them, in order."""
    found: list[Block | Given] = []
    lines = iter(enumerate(path.read_text(encoding="utf-8").splitlines(), start=1))
    reason = ""
    for number, line in lines:
        if comment := _COMMENT.fullmatch(line):
            if comment["word"] == "given":
                found.append(Given(comment["what"]))
            else:
                reason = comment["what"]
        elif fence := _FENCE.fullmatch(line):
            found.append(Block(number, fence["language"], fence["title"] or "", _until_closed(lines), reason))
            reason = ""
        elif line.strip():
            assert not reason, f"{path.name}:{number}: 'not run' must stand right before its block"
    return found


def _until_closed(lines: Iterator[tuple[int, str]]) -> str:
    code = []
    for _, line in lines:
        if line == "```":
            return "\n".join(code) + "\n"
        code.append(line)
    raise AssertionError("a block is not closed")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_code_of_a_page_runs_as_printed(path: Path, tmp_path: Path):
    parts = read_page(path)
    with contextlib.ExitStack() as stack:
        reader = _Reader(tmp_path, stack)
        for part in parts:
            if isinstance(part, Given):
                reader.give(part.what)
                continue
            where = f"{path.relative_to(ROOT)}, line {part.line}"
            assert part.language in _LANGUAGES, f"{where}: say what language this is"
            if part.title:
                reader.write(part)
            elif part.language in _RUN and not part.not_run:
                reader.run(part, where)
                continue
            _read(part, where)


class _Reader:
    """Somebody who follows a page in a folder of their own."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.home, self.folder = folder, folder / "here"
        self.folder.mkdir()
        self.stack = stack
        self.path = [str(ROOT)]  # of modules
        for name in ("examples", "recipes"):
            (self.folder / name).symlink_to(ROOT / name)
        usual = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "SSL4RL_"))}
        mine = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{usual['PATH']}",
            "HF_HOME": str(folder / "hub-cache"),
            "SSL4RL_CACHE": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "NO_ALBUMENTATIONS_UPDATE": "1",
        }
        self.environment = {**usual, **mine}

    def give(self, what: str) -> None:
        """Bring about what a page takes for granted."""
        if what == "photos":
            self._photos()
        elif match := re.fullmatch(r"the folder of (\S+\.md)", what):
            self._written(ROOT / "docs" / "tutorials" / match[1])
        elif what == "a Hub":
            self._hub()
        elif what.endswith(" installed"):
            self._install(what.removesuffix(" installed"))
        else:
            raise AssertionError(f"nobody knows how to give {what!r}")

    def write(self, block: Block) -> None:
        """Put a block into the file that its title names."""
        file = self.folder / block.title
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.code, encoding="utf-8")

    def run(self, block: Block, where: str) -> None:
        """Run a block as somebody would who pasted it."""
        if block.language == "bash":
            command = ["bash", "-euo", "pipefail", "-c", block.code]
        else:
            (self.folder / "pasted.py").write_text(block.code, encoding="utf-8")
            command = [sys.executable, "pasted.py"]
        environment = {**self.environment, "PYTHONPATH": os.pathsep.join(self.path)}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{where}:\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        assert "Warning" not in done.stderr, f"{where}: {done.stderr[-2000:]}"

    def _written(self, page: Path) -> None:
        """What a page before this one leaves: what its `ssl4rl new` writes, and the files that its blocks are."""
        for part in read_page(page):
            if isinstance(part, Block) and part.title:
                self.write(part)
            elif isinstance(part, Block) and part.code.startswith("ssl4rl new "):
                self.run(part, page.name)

    def _photos(self) -> None:
        """A dozen pictures of two shapes, in a folder."""
        from ssl4rl_core.testing.memory import synthetic_picture

        (self.folder / "photos" / "more").mkdir(parents=True)
        for number in range(12):
            size = (160, 120) if number % 2 else (120, 144)
            place = "photos/more" if number % 3 else "photos"
            synthetic_picture(number, *size).save(self.folder / place / f"{number:02d}.jpg", quality=92)

    def _hub(self) -> None:
        """A Hub of the test's own, with somebody logged in."""
        (self.home / "hub").mkdir()
        server = self.stack.enter_context(serving(self.home / "hub"))
        self.environment.pop("HF_HUB_OFFLINE")
        self.environment |= {"HF_ENDPOINT": server.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}

    def _install(self, name: str) -> None:
        """What `pip install -e` does, short of fetching the backend: metadata aside, the folder on the path."""
        project = tomllib.loads((self.folder / name / "pyproject.toml").read_text())["project"]
        site = self.home / "site"
        metadata = site / f"{name.replace('-', '_')}-{project['version']}.dist-info"
        metadata.mkdir(parents=True)
        requires = "".join(f"Requires-Dist: {each}\n" for each in project["dependencies"])
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n{requires}"
        )
        points = "".join(f"{key} = {value}\n" for key, value in project["entry-points"]["ssl4rl"].items())
        (metadata / "entry_points.txt").write_text(f"[ssl4rl]\n{points}")
        self.path += [str(site), str(self.folder / name)]


def _read(block: Block, where: str) -> None:
    """What can be said of a block without running it."""
    if block.language == "python":
        ast.parse(block.code, where)
    elif block.language == "toml":
        tomllib.loads(block.code)
    elif block.language == "yaml":
        # A page may show some keys only; what every recipe needs is filled in.
        needed = {"model": "name", "data": "{source: 'embedded:photos'}", "tasks": "rotation", "output": "run"}
        missing = "".join(
            f"{key}: {value}\n" for key, value in needed.items() if not re.search(rf"(?m)^{key}:", block.code)
        )
        parse_recipe(block.code + missing, where)
    else:
        subprocess.run(["bash", "-n", "-c", block.code], check=True)
        for command in _commands(block.code):
            _exists(command, where)


def _commands(script: str) -> Iterator[list[str]]:
    """The arguments of every `ssl4rl` in a script, and of what accelerate starts of it."""
    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["ssl4rl"]:
            yield words[1:]
        elif "ssl4rl_core.cli" in words:
            yield words[words.index("ssl4rl_core.cli") + 1 :]


def _exists(arguments: list[str], where: str) -> None:
    """Whether there is such a command with these flags, and all that it needs is given."""
    for command in COMMANDS:
        importlib.import_module(f"ssl4rl_core.cli.{command}_command")
    command: Any = typer.main.get_command(app)
    context, rest = command.make_context("ssl4rl", list(arguments)), list(arguments)
    while hasattr(command, "resolve_command") and (rest := [*context._protected_args, *context.args]):
        name = rest[0]
        command = command.get_command(context, name)
        assert command is not None, f"{where}: there is no command {name!r}"
        context = command.make_context(name, rest[1:], parent=context)


def test_a_wrong_flag_a_missing_option_and_an_unknown_command_are_seen():
    for arguments in (["build", "--tusk", "rotation"], ["build", "--task", "rotation"], ["bild"], ["export", "verl"]):
        with pytest.raises(Exception, match=r"(?i)no such|missing|no command"):
            _exists(arguments, "here")
    _exists(shlex.split("export verl builds/photos --out there --format boxed"), "here")


def test_every_page_is_in_the_navigation_or_the_build_says_so(tmp_path: Path):
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed: pip install 'ssl4rl-core[docs]'")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "OMP_NUM_THREADS": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr[-4000:]
    site = tmp_path / "site"
    _gallery_is_whole(site)
    _commands_are_whole(site)
    fetched = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"?(?:https?:)?//")
    assert not [str(page) for page in site.rglob("*.html") if fetched.search(page.read_text(encoding="utf-8"))]


def _gallery_is_whole(site: Path) -> None:
    from ssl4rl_core import registry

    page = (site / "gallery.html").read_text(encoding="utf-8")
    # A registry of its own, as the process that built the page had: other tests may have added to this process's.
    tasks = registry.__wrapped__().tasks.values()
    for task in tasks:
        assert f'<h2 id="{task.name}"' in page
    assert page.count('class="sample"') == sum(len(task.levels) for task in tasks)
    assert page.count("Answer: <code>") == page.count('class="sample"'), "a level has no sample"
    shown = set(re.findall(r'<img src="(gallery/[^"]+)"', page))
    assert shown == {f"gallery/{path.name}" for path in (site / "gallery").iterdir()}


def _commands_are_whole(site: Path) -> None:
    page = (site / "reference" / "command-line.html").read_text(encoding="utf-8")
    for command in (*COMMANDS, "export verl"):
        assert f"<code>ssl4rl {command}</code>" in page
    assert "[bold]" not in page
