"""What sources say where they cannot serve: a kind of item that they have not, a package that is not installed."""

import re
import shlex
import sys
from pathlib import Path

import pytest

import ssl4rl_core
from data_builders import LiveSamples, build
from data_builders.plan import BuildOptions, make_plan
from ssl4rl_core import MissingExtra, UsageError, parse_configs, registry
from ssl4rl_core.preview import preview
from ssl4rl_core.testing.checks.subject import Subject
from ssl4rl_core.testing.sampling import draw_samples
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


def test_a_task_that_a_source_does_not_serve_is_refused_in_one_wording_everywhere(photos, tmp_path):
    source, (link,) = registry().source(photos), parse_configs(["link:easy"], registry())
    asked = [
        lambda: make_plan(source, [link], BuildOptions()),
        lambda: LiveSamples(source, [link]),
        lambda: preview("link:easy", source, tmp_path / "page.html"),
        lambda: next(draw_samples([link], source, 1)),
        lambda: Subject(link.task, source),
    ]
    for ask in asked:
        with pytest.raises(UsageError) as refused:
            ask()
        assert str(refused.value) == "folder:photos holds no item of kind edge, which task link asks about, only image"


@pytest.mark.parametrize(
    ("spec", "task", "package", "extra"),
    [
        ("embedded:graphs", "link:easy", "networkx", "[graph]"),
        ("networkx:karate", "link:easy", "networkx", "[graph]"),
        ("pyg:KarateClub", "link:easy", "torch_geometric", "[graph]"),
        ("embedded:photos", "rotation:paper", "skimage", "[embedded]"),
        ("folder:photos", "rotation:paper", "", ""),
    ],
)
def test_a_card_installs_the_extra_that_a_missing_package_is_told_to_come_with(
    spec, task, package, extra, tmp_path, monkeypatch
):
    if package:
        pytest.importorskip(package)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(noise(0))
    monkeypatch.chdir(tmp_path)
    build([task], spec, tmp_path / "out", limit=20, max_side=64)
    (line,) = re.findall("^pip install .*", (tmp_path / "out" / "README.md").read_text(), re.MULTILINE)
    words = shlex.split(line)
    assert words[2] == f"ssl4rl-core{extra}=={ssl4rl_core.__version__}"
    assert ("'" in line) == bool(extra)  # a bracket is a pattern to some shells
    assert any(word.startswith(f"ssl4rl-task-{task.partition(':')[0]}==") for word in words)
    if not package:
        return
    monkeypatch.setenv("SSL4RL_CACHE", str(tmp_path / "empty"))
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=re.escape(f"{spec} needs the extra '{extra[1:-1]}'")):
        registry().source(spec)


@pytest.mark.parametrize("spec", ["networkx:karate", "networkx:mine.graphml", "embedded:graphs"])
def test_a_graph_without_networkx_names_the_extra(spec, monkeypatch):
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(MissingExtra, match=r"pip install 'ssl4rl-core\[graph\]'"):
        registry().source(spec)
