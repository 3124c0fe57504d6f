"""What sources say where they cannot serve: a kind of item that they have not, a package that is not installed."""

import sys
from pathlib import Path

import pytest

from ssl4rl_core import MissingExtra, UsageError, registry
from ssl4rl_core.testing.sources import noise


@pytest.fixture
def photos(tmp_path: Path) -> str:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(noise(0))
    return f"folder:{tmp_path / 'photos'}"


@pytest.mark.parametrize(
    ("spec", "kind", "says"),
    [
        ("networkx:karate", "image", "networkx:karate has no items of kind 'image', only node, edge"),
        ("embedded:faces", "question", "embedded:faces has no items of kind 'question', only image"),
        ("photos", "node", "folder:photos has no items of kind 'node', only image"),
    ],
)
def test_a_kind_that_a_source_has_not_is_refused_with_those_it_has(spec, kind, says, photos):
    pytest.importorskip("networkx", reason="networkx:karate is networkx's")
    pytest.importorskip("skimage", reason="the embedded faces are scikit-image's")
    source = registry().source(photos if spec == "photos" else spec)
    with pytest.raises(UsageError) as refused:
        source.index(kind)
    assert str(refused.value) == says


@pytest.mark.parametrize("spec", ["networkx:karate", "networkx:mine.graphml", "embedded:graphs"])
def test_a_graph_without_networkx_names_the_extra(spec, monkeypatch):
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(MissingExtra, match=r"pip install 'ssl4rl-core\[graph\]'"):
        registry().source(spec)
