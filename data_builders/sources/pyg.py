"""Graphs of torch-geometric's datasets, from raw files that are already on disk.

torch-geometric takes seconds and hundreds of megabytes to import, and it writes beside what it reads. So it reads links
to the raw files in a temporary folder, once; what the graph holds is kept as plain arrays in a cache folder, and every
later opening, in every worker, reads those. Raw files that are pickles are read by torch-geometric alone.
"""

import contextlib
import hashlib
import inspect
import io
import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BeforeValidator, Field

from data_builders.sources.class_names import CLASSES
from data_builders.sources.extras import missing
from data_builders.sources.files import expanded
from data_builders.sources.graph_source import GraphSource, read_texts, texts_of
from data_builders.sources.index import CACHE_VARIABLE, cache_folder
from data_builders.sources.options import LocalFile, SourceOptions
from ssl4rl_core.atomic import write_whole
from ssl4rl_core.errors import Ssl4rlError, UsageError, one_line
from ssl4rl_core.graph_store import Graph, Labels
from ssl4rl_core.graphs import clean
from ssl4rl_core.node_attributes import Attributes, Bags, Numbers, Strings, Texts

_SPARSE = 0.2
"""Features of which fewer are above zero, and none below, are bags of words."""


class PyGOptions(SourceOptions):
    """What follows the `?`."""

    root: Annotated[Path, BeforeValidator(expanded)] | None = Field(
        default=None, exclude=True, description="where the raw files lie, in any folder below or linked to"
    )
    download: bool = Field(
        default=False, exclude=True, description="let torch-geometric fetch the raw files that are missing"
    )
    texts: LocalFile = Field(default="", description="file of node texts by number, JSON or TSV")
    vocabulary: LocalFile = Field(default="", description="file of the words of bag-of-words features, one a line")
    classes: LocalFile = Field(default="", description="file of the names of the node classes, one a line")
    graph: int | None = Field(default=None, ge=0, description="which graph of a dataset of several, from 0")


class PyG(GraphSource):
    """A graph of torch-geometric's datasets.

    `pyg:Planetoid/Cora?root=DIR` names a dataset class and, where it takes one, its name argument; `pyg:KarateClub` a
    class that needs neither. A directed graph stays directed; edge types become relations.

    A dataset's public test nodes are held out from every task. Its classes of nodes serve evaluation alone.
    """

    scheme = "pyg"
    example = "pyg:Planetoid/Cora?root=data"

    @classmethod
    def open(cls, where: str, **options: str) -> Self:
        chosen = PyGOptions.read(cls.scheme, options)
        title, _, argument = where.partition("/")
        if title == "TAGDataset":
            raise UsageError(f"pyg:{where} wraps another dataset: name that one and give its node texts by texts=FILE")
        if chosen.root is not None and not chosen.root.is_dir():
            raise UsageError(f"pyg: root={chosen.root} is no folder: name one that holds the raw files of the dataset")
        raw = _RawFiles(chosen.root, argument)
        cached = cache_folder() / "pyg-3" / f"{_key(title, argument, chosen)}.npz"
        arrays = _cached(cached, raw)
        if arrays is None:
            arrays = _arrays(_load(title, argument, chosen, raw), f"pyg:{where}")
            arrays["used"] = np.array(json.dumps(raw.used))
            _keep(cached, arrays)
        graph = _graph(arrays, chosen, CLASSES.get(where.casefold(), ()))
        return cls(graph, f"pyg:{where}", chosen.license, chosen.choice())


def _key(title: str, argument: str, options: PyGOptions) -> str:
    """Names the cached arrays, one file for each graph and root: new ones take the place of those they replace."""
    key = json.dumps([title, argument, options.graph, str(options.root and options.root.resolve())])
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _cached(path: Path, raw: "_RawFiles") -> dict[str, np.ndarray] | None:
    """The cached arrays, where all raw files that they were made of are as they were."""
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as opened:
        arrays = dict(opened)
    used = json.loads(arrays["used"].item())
    return arrays if all(raw.state(place) == state for place, state in used.items()) else None


def _keep(path: Path, arrays: dict[str, np.ndarray]) -> None:
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # pyright: ignore[reportArgumentType]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, packed.getvalue())
    except OSError as error:
        raise Ssl4rlError(
            f"cannot write the arrays of a graph to {path.parent}: {error.strerror or error}; "
            f"set {CACHE_VARIABLE} to a folder with room"
        ) from error


class _RawFiles:
    """The raw files under a root and behind links in it, for a dataset's argument."""

    def __init__(self, root: Path | None, argument: str) -> None:
        self.root, self._argument = root, argument
        self.used: dict[str, list] = {}
        """The state of each file that was taken, by its place, as it was before it was read."""

    def take(self, place: str) -> Path | None:
        """What `find` finds, from now on among those used."""
        self.used[place] = self.state(place)
        return self.find(place)

    def find(self, place: str) -> Path | None:
        """A file or folder in its place under the root, the only one of its name, or the one in a folder named so."""
        if self.root is None:
            return None
        if (self.root / place).exists():
            return self.root / place
        found = self._by_name.get(Path(place).name, [])
        if not _same(found):
            name = self._argument.casefold()
            found = [path for path in found if name in map(str.casefold, path.relative_to(self.root).parts)]
        return found[0] if found and _same(found) else None

    def state(self, place: str) -> list:
        """Another one whenever the file was replaced or written to: by place, size and time, as make does."""
        found = self.find(place)
        if found is None:
            return []
        files = sorted(path for path in _below(found) if path.is_file()) if found.is_dir() else [found]
        stats = ((str(path.resolve()), path.stat()) for path in files)
        return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        named: dict[str, list[Path]] = {}
        for path in _below(self.root) if self.root else ():
            named.setdefault(path.name, []).append(path)
        return named


def _same(paths: list[Path]) -> bool:
    """Whether all paths lead to one file; links give one file several."""
    return len({path.resolve() for path in paths}) <= 1


def _below(root: Path) -> Iterator[Path]:
    """All files and folders below one, links to folders followed unless they lead back to a folder that they lie in."""
    for folder, folders, files in os.walk(root, followlinks=True):
        at = Path(folder)
        folders[:] = sorted(name for name in folders if not _leads_back(at / name))
        yield from (at / name for name in (*folders, *sorted(files)))


def _leads_back(path: Path) -> bool:
    return path.is_symlink() and path.resolve() in {each.resolve() for each in path.absolute().parents}


def _load(title: str, argument: str, options: PyGOptions, raw: _RawFiles) -> Any:
    """The one graph, as torch-geometric's `Data`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch_geometric.datasets as datasets
    except ImportError as error:
        raise missing(f"pyg:{title}", error) from error
    dataset_class = getattr(datasets, title, None)
    if not (title in datasets.__all__ and isinstance(dataset_class, type)):
        raise UsageError(f"pyg: torch-geometric has no dataset {title!r}")
    takes = inspect.signature(dataset_class.__init__).parameters
    arguments = _named(title, argument, takes) if argument else {}
    with tempfile.TemporaryDirectory(prefix="ssl4rl-pyg-") as staging:
        if "root" in takes:
            if options.root is None and not options.download:
                raise UsageError(f"pyg:{title} needs root=DIR, where its raw files lie, or download=true")
            arguments["root"] = staging
            dataset_class = _linking(dataset_class, Path(staging), raw, options)
        try:
            with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
                dataset = dataset_class(**arguments)
        except Ssl4rlError:
            raise
        except Exception as error:  # whatever a dataset's own code makes of an argument or of a damaged file
            reason = f"{type(error).__name__}: {one_line(error)}"
            raise UsageError(f"pyg:{title}/{argument} failed to load: {reason}") from error
        if options.graph is None and len(dataset) != 1:
            raise UsageError(f"pyg:{title} holds {len(dataset)} graphs: choose one by graph=N")
        number = options.graph or 0
        if number >= len(dataset):
            raise UsageError(f"pyg:{title} holds {len(dataset)} graphs, numbered from 0: there is no graph {number}")
        return dataset[number]


def _named(title: str, argument: str, takes: Mapping[str, inspect.Parameter]) -> dict[str, str]:
    """The argument by name: `name`, or else the only one that must be given besides the root."""
    needed = [name for name, parameter in takes.items() if parameter.default is parameter.empty]
    names = ["name"] if "name" in takes else [name for name in needed if name not in ("self", "root", "args", "kwargs")]
    if len(names) != 1:
        raise UsageError(f"pyg:{title}/{argument}: {title} takes no name: write pyg:{title}")
    return {names[0]: argument}


def _linking(dataset_class: type, staging: Path, raw: _RawFiles, options: PyGOptions) -> type:
    """The class with another `download`, which is called when raw files are missing: it links to those in `root`."""

    def link(self: Any) -> None:
        missing = []
        for path in map(Path, self.raw_paths):
            place = path.relative_to(staging).as_posix()
            found = raw.take(place)
            if found is None:
                missing.append(place)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(found.resolve())
        if missing and options.download:
            dataset_class.download(self)  # pyright: ignore[reportAttributeAccessIssue]
        elif missing:
            raise UsageError(
                f"pyg:{dataset_class.__name__}: {raw.root} lacks {', '.join(missing)}: put them there (just the "
                "file names in any folder below do, too), or add download=true"
            )

    return type(dataset_class.__name__, (dataset_class,), {"download": link})


def _arrays(data: Any, spec: str) -> dict[str, np.ndarray]:
    """What is used of a graph, as arrays that need no pickle: edges, and texts, bags or rows of the nodes."""
    if not hasattr(data, "edge_index") or data.edge_index is None:
        raise UsageError(f"{spec} has several kinds of nodes or no edges: not a graph of one kind of node")
    edges = data.edge_index.numpy().T
    relations = data.edge_type.numpy() if "edge_type" in data else np.zeros(len(edges), dtype=np.int64)
    arrays = {
        "edges": np.column_stack([edges, relations]).astype(np.int32),
        "nodes": np.array(data.num_nodes),
        "directed": np.array("edge_type" in data or not data.is_undirected()),
        **_labels(data),
    }
    texts = next((data[key] for key in ("text", "raw_text", "raw_texts") if key in data), None)
    if texts is not None:
        strings = Strings(clean(str(text)) for text in texts)
        return arrays | {"text": np.frombuffer(strings.bytes, dtype=np.uint8), "text_ends": strings.ends}
    return arrays | _features(data.x)


def _labels(data: Any) -> dict[str, np.ndarray]:
    """One class a node, and which nodes the data holds out; of several splits, the first."""
    if "y" not in data or data.y.ndim != 1 or len(data.y) != data.num_nodes or data.y.is_floating_point():
        return {}
    labels = {"classes": data.y.numpy().astype(np.int32)}
    if "test_mask" in data:
        mask = data.test_mask.numpy().astype(bool)
        labels["test"] = mask if mask.ndim == 1 else mask[:, 0]
    return labels


def _features(x: Any) -> dict[str, np.ndarray]:
    if x is None:
        return {}
    rows = (x.to_dense() if x.layout is not x.new_empty(0).layout else x).numpy()
    if rows.ndim != 2 or (rows.shape[0] == rows.shape[1] and np.array_equal(rows, np.eye(len(rows)))):
        return {}  # a row of the identity only numbers its node
    if rows.size and rows.min() >= 0 and (rows > 0).mean() < _SPARSE:
        nodes, words = np.nonzero(rows)
        ends = np.searchsorted(nodes, np.arange(len(rows) + 1))
        return {"words": words.astype(np.int32), "word_ends": ends}
    return {"rows": rows.astype(np.float32)}


def _graph(arrays: dict[str, np.ndarray], options: PyGOptions, classes: tuple[str, ...]) -> Graph:
    names = [str(node) for node in range(int(arrays["nodes"]))]
    edges = arrays["edges"]
    kinds = int(edges[:, 2].max(initial=0)) + 1
    return Graph(
        Strings(names),
        edges,
        _attributes(arrays, names, options),
        directed=bool(arrays["directed"]),
        relations=[str(number) for number in range(kinds)] if kinds > 1 else [""],
        labels=_named_labels(arrays, options, classes),
    )


def _named_labels(arrays: dict[str, np.ndarray], options: PyGOptions, known: tuple[str, ...]) -> Labels | None:
    if "classes" not in arrays:
        return None
    of = arrays["classes"]
    count = int(of.max(initial=-1)) + 1
    names = tuple(_lines("classes", options.classes, "names", count)) if options.classes else known
    return Labels(names, of, arrays.get("test", np.ones(len(of), dtype=bool)))


def _attributes(arrays: dict[str, np.ndarray], names: list[str], options: PyGOptions) -> Attributes:
    if options.texts:
        return texts_of(names, read_texts(options.texts, names))
    if "text" in arrays:
        return Texts(Strings.of(arrays["text"].tobytes(), arrays["text_ends"]))
    if "words" in arrays:
        return Bags(arrays["word_ends"], arrays["words"], _vocabulary(options, int(arrays["words"].max(initial=-1))))
    return Numbers(arrays.get("rows", np.zeros((len(names), 0), dtype=np.float32)))


def _vocabulary(options: PyGOptions, last: int) -> Strings | None:
    return Strings(_lines("vocabulary", options.vocabulary, "words", last + 1)) if options.vocabulary else None


def _lines(option: str, path: str, kind: str, needed: int) -> list[str]:
    """The lines of a file that names what the data numbers, clean."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{option}={path} cannot be read: {error}") from error
    if len(lines) < needed:
        raise UsageError(f"{option}={path} has {len(lines)} {kind}, and the data numbers {needed} of them")
    return [clean(line, 64) for line in lines]
