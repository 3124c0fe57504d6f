"""Deterministic, sharded datasets from unlabelled sources.

`build` writes one, `BuiltSamples` reads it, `LiveSamples` renders the same samples without writing them, `inspect` says
what a build holds, `push` publishes it on the Hub.
"""

from data_builders.builder import build
from data_builders.engines import Progress
from data_builders.exporters.hub import push
from data_builders.inspection import inspect
from data_builders.live import LiveSamples
from data_builders.manifest import Manifest
from data_builders.plan import BuildOptions
from data_builders.reader import BuiltSamples

__all__ = ["BuildOptions", "BuiltSamples", "LiveSamples", "Manifest", "Progress", "build", "inspect", "push"]
