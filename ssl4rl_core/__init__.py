"""ssl4rl: verifiable rewards for post-training, from unlabelled images and graphs.

What a task author needs is here: `Task`, `Params`, `ImageParams`, `Draft`, `Skip`, `ImageItem`, the answers,
`hookimpl`; what a user of Python needs too: `registry`, `register`, `parse_configs`, `render`, `verify`.
"""

from pydantic import Field

from ssl4rl_core.answers import Angle, Answer, Choice, Permutation, Subset
from ssl4rl_core.configs import TaskConfig, parse_config, parse_configs
from ssl4rl_core.errors import MissingExtra, Ssl4rlError, TaskError, UsageError
from ssl4rl_core.formats import ResponseFormat
from ssl4rl_core.hookspecs import hookimpl
from ssl4rl_core.plugins import load_file, register, registry
from ssl4rl_core.rendering import render
from ssl4rl_core.samples import EdgeItem, ImageItem, Item, NodeItem, Record, Sample
from ssl4rl_core.sources import Entry, Source, Splitter, View
from ssl4rl_core.tasks import Draft, GraphParams, ImageParams, Params, Skip, Task
from ssl4rl_core.verification import Verdict, verify

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
    "Record",
    "ResponseFormat",
    "Sample",
    "Skip",
    "Source",
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
    "load_file",
    "parse_config",
    "parse_configs",
    "register",
    "registry",
    "render",
    "verify",
]
__version__ = "0.1.0"
