"""ssl4rl: verifiable rewards for post-training, from unlabelled images and graphs.

What a task author needs is here: `Task`, `Params`, `ImageParams`, `Draft`, `Skip`, `ImageItem`, the answers,
`hookimpl`; what a user of Python needs too: `registry`, `register`, `parse_configs`, `render`, `verify`, and for
TRL's trainers `load` and `rewards`.
"""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from ssl4rl_core.answers import Angle, Answer, Choice, Permutation, Subset
from ssl4rl_core.configs import TaskConfig, parse_config, parse_configs
from ssl4rl_core.errors import MissingExtra, Ssl4rlError, TaskError, UsageError
from ssl4rl_core.formats import ResponseFormat
from ssl4rl_core.hookspecs import hookimpl
from ssl4rl_core.plugins import load_file, register, registry
from ssl4rl_core.rendering import render
from ssl4rl_core.samples import EdgeItem, ImageItem, Item, NodeItem, QuestionItem, Record, Sample
from ssl4rl_core.sources import Entry, Source, Splitter, View
from ssl4rl_core.tasks import Draft, GraphParams, ImageParams, Params, Skip, SourceChanged, Task
from ssl4rl_core.verification import Verdict, verify

if TYPE_CHECKING:
    from ssl4rl_core.integrations.trl import load, rewards

__all__ = [
    "Angle",
    "Answer",
    "Choice",
    "Draft",
    "EdgeItem",
    "Entry",
    "Field",
    "GraphParams",
    "ImageItem",
    "ImageParams",
    "Item",
    "MissingExtra",
    "NodeItem",
    "Params",
    "Permutation",
    "QuestionItem",
    "Record",
    "ResponseFormat",
    "Sample",
    "Skip",
    "Source",
    "SourceChanged",
    "Splitter",
    "Ssl4rlError",
    "Subset",
    "Task",
    "TaskConfig",
    "TaskError",
    "UsageError",
    "Verdict",
    "View",
    "hookimpl",
    "load",
    "load_file",
    "parse_config",
    "parse_configs",
    "register",
    "registry",
    "render",
    "rewards",
    "verify",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # These stand on the builder and the trainer, which stand on this module; who only writes a task loads neither.
    if name in ("load", "rewards"):
        from ssl4rl_core.integrations import trl

        return getattr(trl, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
