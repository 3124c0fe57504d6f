"""A new task as a distribution of its own: complete, working and tested from the start."""

import importlib.metadata
import keyword
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import ssl4rl_core
from ssl4rl_core.distributions import CORE, PREFIX
from ssl4rl_core.errors import Ssl4rlError, UsageError
from ssl4rl_core.plugins import registry
from ssl4rl_core.tasks import NAME

if TYPE_CHECKING:
    import jinja2

Domain = Literal["image", "graph"]
LONGEST = 40
SOURCES: dict[Domain, str] = {"image": "embedded:photos", "graph": "networkx:karate"}
"""What a new task is tried on: nothing is fetched for it."""
# Names that the task's module imports, which its own classes must not hide, and those that no class can have.
_TAKEN = {*ssl4rl_core.__all__, "Image", "Transpose", *keyword.kwlist}


def new_task(name: str, *, domain: Domain = "image", out: str | Path = "", author: str = "") -> Path:
    """Write the distribution `ssl4rl-task-NAME`, and return its folder.

    It holds pyproject.toml, the task's module, README, LICENSE (Apache-2.0), a test and a workflow for CI, and passes
    `ssl4rl check` as it is. The folder is there whole or not at all.

    Args:
        name: of the task: lower-case words joined by hyphens; that of its distribution means the same task.
        domain: what it asks about, "image" or "graph".
        out: the folder to make; else `ssl4rl-task-NAME` here.
        author: name in pyproject.toml; left out where empty.

    Raises:
        UsageError: the name cannot be a task's or is an installed task's, or the folder is there already.
        Ssl4rlError: the folder cannot be written.
    """
    name = task_name(name)
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise UsageError(
            f"{name!r} cannot be a task's name: it must be lower-case words joined by hyphens, such as 'frame-order', "
            f"of at most {LONGEST} characters"
        )
    if name in registry().tasks:
        raise UsageError(f"task {name} is there already, from {registry().origin('task', name)}: take another name")
    folder = Path(out) if out else Path(f"{PREFIX}{name}")
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder} is there already: name another folder with --out, or remove it")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as partial:
            written = Path(partial) / folder.name
            for path, text in _files(name, domain, author).items():
                (written / path).parent.mkdir(parents=True, exist_ok=True)
                (written / path).write_text(text, encoding="utf-8")
            shutil.move(written, folder)
    except OSError as error:
        raise Ssl4rlError(f"cannot write {folder}: {error.strerror or error}; name another with --out") from error
    return folder


def task_name(name: str) -> str:
    """The task that a name means: "ssl4rl-task-shade" is the distribution of "shade"."""
    return name.removeprefix(PREFIX)


def module_name(name: str) -> str:
    """The module of a task: "frame-order" is in `ssl4rl_task_frame_order`."""
    return f"ssl4rl_task_{name.replace('-', '_')}"


def class_name(name: str) -> str:
    """The class of a task: "frame-order" is `FrameOrder`, and "choice" `ChoiceTask`, since `Choice` is an answer."""
    joined = "".join(word.capitalize() for word in name.split("-"))
    return f"{joined}Task" if {joined, f"{joined}Params"} & _TAKEN else joined


def _files(name: str, domain: Domain, author: str) -> dict[str, str]:
    module = module_name(name)
    values = {
        "name": name,
        "domain": domain,
        "module": module,
        "class_name": class_name(name),
        "author": " ".join(author.split()),
        "core": _compatible(ssl4rl_core.__version__),
        "source": SOURCES[domain],
    }
    templates = {
        "pyproject.toml": "pyproject.toml.j2",
        f"{module}.py": f"{domain}_task.py.j2",
        f"tests/test_{name.replace('-', '_')}.py": "test_task.py.j2",
        "README.md": "README.md.j2",
        ".github/workflows/ci.yml": "ci.yml.j2",
        ".gitignore": "gitignore.j2",
    }
    environment = _environment()
    filled = {path: environment.get_template(template).render(**values) for path, template in templates.items()}
    return {**filled, "LICENSE": _license()}


def _compatible(version: str) -> str:
    """The versions of core that a task written for this one works with: ">=0.1,<0.2"."""
    major, minor, *_ = map(int, version.split("."))
    return f">={major}.{minor},<{major}.{minor + 1}" if major == 0 else f">={major}.{minor},<{major + 1}"


def _license() -> str:
    """The Apache License 2.0, as core ships it."""
    text = importlib.metadata.distribution(CORE).read_text("licenses/LICENSE")
    if text is None:
        raise Ssl4rlError(f"{CORE} is installed without its LICENSE: pip install --force-reinstall {CORE}")
    return text


def _environment() -> "jinja2.Environment":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ssl4rl_core.scaffold"),
        autoescape=False,  # what is written is TOML, Python and Markdown
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Python, TOML and workflows have braces of their own.
        variable_start_string="<<",
        variable_end_string=">>",
    )
    import json

    environment.filters["quoted"] = lambda text: json.dumps(text, ensure_ascii=False)
    return environment
