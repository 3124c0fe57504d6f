"""The built-in sources, one file a kind."""

from data_builders.sources.benchmarks import MMBench, SeedBench
from data_builders.sources.embedded import Embedded
from data_builders.sources.folder import Folder
from data_builders.sources.hf import Hf
from data_builders.sources.networkx_graphs import NetworkX
from data_builders.sources.parquet import Parquet
from data_builders.sources.pyg import PyG
from data_builders.sources.triples import Triples
from data_builders.sources.tsv import Tsv
from data_builders.sources.webdataset import WebDataset
from ssl4rl_core.hookspecs import hookimpl
from ssl4rl_core.sources import Source


@hookimpl
def ssl4rl_sources() -> list[type[Source]]:
    """One class a scheme."""
    return [Folder, Embedded, WebDataset, Hf, Parquet, Tsv, MMBench, SeedBench, Triples, PyG, NetworkX]
