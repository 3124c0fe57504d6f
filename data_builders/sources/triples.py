"""Knowledge graphs as benchmarks publish them: lines of head TAB relation TAB tail."""

from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field

from data_builders.sources.files import expanded
from data_builders.sources.graph_source import GraphSource, read_texts, texts_of
from data_builders.sources.options import LocalFile, SourceOptions
from ssl4rl_core.errors import UsageError
from ssl4rl_core.graph_store import Graph
from ssl4rl_core.node_attributes import Strings

_FILES = {"train": 0, "valid": 1, "test": 1}
_TEXTS = "entity2wikidata.json"


class TriplesOptions(SourceOptions):
    """What follows the `?`."""

    texts: LocalFile = Field(default="", description="file of entities' texts, in the folder or anywhere: JSON or TSV")


class Triples(GraphSource):
    """A knowledge graph: any of `train.txt`, `valid.txt` and `test.txt` in a folder.

    Where there is a train file, it is the train split, and valid and test are the test split; a triple in both is
    held out. Where there is none (FB15k-237 is often passed on so), triples are split by hash like everything else.

    `texts=FILE` gives each entity a text (see `read_texts`); `entity2wikidata.json` in the folder is found by itself.
    Without either, an entity's name is its text.
    """

    scheme = "triples"
    example = "triples:FB15k-237"

    @classmethod
    def open(cls, where: str, **options: str) -> Self:
        chosen = TriplesOptions.read(cls.scheme, options)
        folder = Path(expanded(where))
        found = {folder / f"{name}.txt": mark for name, mark in _FILES.items() if (folder / f"{name}.txt").is_file()}
        if not found:
            raise UsageError(f"triples:{where}: no train.txt, valid.txt or test.txt (head TAB relation TAB tail) there")
        entities: dict[str, int] = {}
        relations: dict[str, int] = {}
        edges, marks = [], []
        for path, mark in found.items():
            for head, relation, tail in _read(path):
                ends = entities.setdefault(head, len(entities)), entities.setdefault(tail, len(entities))
                edges.append((*ends, relations.setdefault(relation, len(relations))))
                marks.append(mark)
        names = list(entities)
        texts = _texts(folder, chosen.texts, names)
        graph = Graph(
            Strings(names),
            np.array(edges, dtype=np.int32),
            texts_of(names, {name: name for name in names} if texts is None else texts),
            directed=True,
            relations=list(relations),
            split=np.array(marks) if folder / "train.txt" in found else None,
        )
        return cls(graph, f"triples:{folder.name or folder.resolve().name}", chosen.license, chosen.choice())


def _read(path: Path):
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                fields = line.rstrip("\n").split("\t")
                if len(fields) != 3 or not all(fields):
                    raise UsageError(f"{path}:{number}: not head TAB relation TAB tail: {line[:80]!r}")
                yield fields
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as UTF-8 text: {error}") from error


def _texts(folder: Path, option: str, names: list[str]) -> dict[str, str] | None:
    if option:
        return read_texts(folder / option if (folder / option).is_file() else option, names)
    return read_texts(folder / _TEXTS) if (folder / _TEXTS).is_file() else None
