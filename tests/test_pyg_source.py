"""Graphs of torch-geometric: raw files wherever they lie, read once, and again when they change."""

from pathlib import Path

import numpy as np
import pytest

from data_builders.sources import pyg
from data_builders.sources.pyg import PyG, PyGOptions
from ssl4rl_core import Ssl4rlError, UsageError

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the outside data ../shared/data is absent")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL4RL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def numbers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each place that a dataset was loaded from, which is a file of numbers; torch-geometric is left out of it."""
    loaded = []

    def load(title: str, argument: str, options: PyGOptions, raw: pyg._RawFiles) -> list[int]:
        found = raw.take(f"{argument}/raw/edges")
        assert found is not None and raw.root is not None
        loaded.append(found.relative_to(raw.root).as_posix())
        return [int(number) for number in found.read_text().split()]

    def arrays(numbers: list[int], spec: str) -> dict[str, np.ndarray]:
        edges = np.array([(node, number, 0) for node, number in enumerate(numbers)], dtype=np.int32)
        return {"edges": edges, "nodes": np.array(100), "directed": np.array(True)}

    monkeypatch.setattr(pyg, "_load", load)
    monkeypatch.setattr(pyg, "_arrays", arrays)
    return loaded


def cached(tmp_path: Path) -> int:
    return len(list((tmp_path / "cache").glob("pyg-*/*")))


def test_raw_files_behind_a_link_that_are_replaced_are_read_again(tmp_path: Path, numbers: list[str]):
    root, store = tmp_path / "root", tmp_path / "store"
    for folder in (root, store / "raw"):
        folder.mkdir(parents=True)
    (root / "Cora").symlink_to(store)
    (store / "raw/edges").write_text("5 6 7")
    before = PyG.open("Any/Cora", root=str(root)).fingerprint()
    assert PyG.open("Any/Cora", root=str(root)).fingerprint() == before
    assert numbers == ["Cora/raw/edges"]
    (store / "raw/edges").write_text("5 6 7 8")
    assert PyG.open("Any/Cora", root=str(root)).fingerprint() != before
    assert len(numbers) == 2 and cached(tmp_path) == 1


def test_a_cache_that_cannot_be_written_is_named_with_its_mend(tmp_path: Path, numbers: list[str]):
    (tmp_path / "Cora/raw").mkdir(parents=True)
    (tmp_path / "Cora/raw/edges").write_text("5 6 7")
    (tmp_path / "cache").write_text("no folder")
    with pytest.raises(Ssl4rlError, match=r"cannot write the arrays .*; set SSL4RL_CACHE to a folder"):
        PyG.open("Any/Cora", root=str(tmp_path))


def test_raw_files_are_found_behind_links_that_may_lead_back(tmp_path: Path, numbers: list[str]):
    root, store = tmp_path / "root", tmp_path / "store"
    for each in ("cora", "citeseer"):
        (store / each).mkdir(parents=True)
        (store / each / "edges").write_text("5 6 7")
        (store / each / "up").symlink_to(root)
    root.mkdir()
    (root / "data").symlink_to(store)
    (root / "data/cora/itself").symlink_to(store / "cora")
    (root / "data/other").symlink_to(store / "cora")
    assert PyG.open("Any/Cora", root=str(root)).graph.size == 3
    assert numbers == ["data/cora/edges"]


def test_a_file_that_is_not_used_makes_nothing_to_be_read_again(tmp_path: Path, numbers: list[str]):
    (tmp_path / "edges").write_text("5 6 7")
    for name in ("out.log", "other/notes"):
        PyG.open("Any/Cora", root=str(tmp_path))
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    PyG.open("Any/Cora", root=str(tmp_path))
    assert numbers == ["edges"]
    # One in the very place of the dataset comes before the other.
    (tmp_path / "Cora/raw").mkdir(parents=True)
    (tmp_path / "Cora/raw/edges").write_text("8")
    assert PyG.open("Any/Cora", root=str(tmp_path)).graph.size == 1
    assert numbers == ["edges", "Cora/raw/edges"] and cached(tmp_path) == 1


def test_texts_by_other_numbers_are_refused(tmp_path: Path, numbers: list[str]):
    (tmp_path / "edges").write_text("5 6 7")
    (tmp_path / "papers.json").write_text('{"31336": "a paper"}')
    with pytest.raises(UsageError, match=r"its names are like '31336', those of the graph like '0'$"):
        PyG.open("Any/Cora", root=str(tmp_path), texts=str(tmp_path / "papers.json"))


class TestTorchGeometric:
    """Needs torch-geometric; its import takes seconds."""

    @pytest.fixture(autouse=True)
    def installed(self):
        pytest.importorskip("torch_geometric", reason="needs the extra 'graph'")

    def test_karate_club_has_edges_and_no_features(self):
        source = PyG.open("KarateClub")
        assert (len(source.graph), source.graph.size, source.graph.directed) == (34, 78, False)
        assert not source.graph.attributes.has(0)

    def test_an_open_source_is_read_from_the_cache_the_next_time(self, monkeypatch: pytest.MonkeyPatch):
        first = PyG.open("KarateClub").fingerprint()
        monkeypatch.setattr(pyg, "_load", None)
        assert PyG.open("KarateClub").fingerprint() == first

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("Nothing", "no dataset 'Nothing'"),
            ("WikiCS", "needs root=DIR"),
            ("KarateClub/extra", "takes no name"),
        ],
    )
    def test_wrong_names(self, spec: str, message: str):
        with pytest.raises(UsageError, match=message):
            PyG.open(spec)

    def test_a_missing_file_is_named_with_its_place(self, tmp_path: Path):
        (tmp_path / "raw").mkdir()
        with pytest.raises(UsageError, match=r"lacks Cora/raw/ind\.cora\.x.*download=true"):
            PyG.open("Planetoid/Cora", root=str(tmp_path / "raw"))

    @needs_shared
    def test_cora_is_read_from_raw_files_that_stay_as_they_are(self, tmp_path: Path):
        root = SHARED / "planetoid"
        before = sorted((root / "cora").iterdir())
        source = PyG.open("Planetoid/Cora", root=str(root))
        assert (len(source.graph), source.graph.size) == (2708, 5278)
        assert sorted((root / "cora").iterdir()) == before
        assert source.name == "pyg:Planetoid/Cora"
        (tmp_path / "words").write_text("\n".join(f"word{n}" for n in range(1433)))
        named = PyG.open("Planetoid/Cora", root=str(root), vocabulary=str(tmp_path / "words"))
        assert named.graph.attributes.describe([0], 100, np.random.default_rng(0))[0].startswith("word")
        (tmp_path / "words").write_text("one\ntwo")
        with pytest.raises(UsageError, match="has 2 words"):
            PyG.open("Planetoid/Cora", root=str(root), vocabulary=str(tmp_path / "words"))
