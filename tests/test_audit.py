"""The audit finds tasks that give their answers away, by the probe meant for it, and passes the others."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from ssl4rl_core import (
    Choice,
    Draft,
    ImageItem,
    MissingExtra,
    Params,
    Task,
    TaskConfig,
    UsageError,
    register,
    registry,
)
from ssl4rl_core.cli import run
from ssl4rl_core.testing.audit import AuditProgress, Finding, audit
from ssl4rl_core.testing.image_statistics import TRACES, image_statistics
from ssl4rl_core.testing.memory import MemorySource, synthetic_picture
from ssl4rl_core.testing.sampling import draw_samples
from tests.turned import Turned, oblong_pictures

pytest.importorskip("sklearn", reason="an audit is scikit-learn's: pip install 'ssl4rl-core[audit]'")


class Coin(Task[ImageItem, Params]):
    """A question whose answer nothing tells."""

    name, version, levels, prompt = "coin", 1, {"easy": Params()}, "<image>\nHeads?"

    def transform(self, item, params, rng, view):
        yes = bool(rng.integers(2))
        return Draft(Choice("yes" if yes else "no", ["yes", "no"]), [self.shown(item.image, yes)])

    def shown(self, image, yes):
        return image

    def chance(self, params):
        return 1 / 2


class Blurred(Coin):
    """Which answer is right shows in the pixels alone: the picture is blurred where it is yes."""

    name = "blurred"

    def shown(self, image, yes):
        return image.filter(ImageFilter.BoxBlur(1)) if yes else image


def config(task: type[Task]) -> TaskConfig:
    return TaskConfig(task(), "easy", task.levels["easy"])


@pytest.fixture
def source() -> MemorySource:
    return oblong_pictures(map(str, range(40)))


def found(findings: list[Finding]) -> dict[tuple[str, str], str]:
    return {(finding.config, finding.probe): finding.verdict for finding in findings}


def test_each_leak_is_found_by_the_probe_meant_for_it(source):
    findings = audit([config(Turned), config(Blurred), config(Coin)], source, samples=160)
    verdicts = found(findings)
    del verdicts["turned-easy", "traces"]  # what is turned shows there too, or not
    assert verdicts == {
        ("turned-easy", "blind"): "LEAKS",
        ("blurred-easy", "blind"): "passes",
        ("coin-easy", "blind"): "passes",
        ("blurred-easy", "traces"): "warning",
        ("coin-easy", "traces"): "passes",
    }
    blurred = next(f.describe() for f in findings if (f.config, f.probe) == ("blurred-easy", "traces"))
    assert "sharpness" in blurred["tells"]
    assert blurred["low"] < blurred["score"] <= blurred["high"] and blurred["n"] == 160


def test_the_same_audit_gives_the_same_figures_and_says_how_far_it_is(source):
    seen: list[AuditProgress] = []
    first = audit([config(Coin)], source, samples=60, report=seen.append)
    assert first == audit([config(Coin)], source, samples=60)
    assert [each.done for each in seen] == list(range(61)) and {each.of for each in seen} == {60}


def test_graph_tasks_are_probed_by_degrees():
    pytest.importorskip("networkx", reason="the embedded graphs are networkx's")
    if "neighbor" not in registry().tasks:
        pytest.skip("needs plugins/ssl4rl-task-neighbor")
    findings = audit(["neighbor:easy"], "embedded:graphs", samples=100)
    assert found(findings) == {("neighbor-easy", "blind"): "passes", ("neighbor-easy", "degrees"): "passes"}


def test_the_rotation_plugin_passes_on_embedded_photographs():
    pytest.importorskip("skimage", reason="the embedded photographs are scikit-image's")
    if "rotation" not in registry().tasks:
        pytest.skip("needs plugins/ssl4rl-task-rotation")
    assert (
        found(audit(["rotation:easy"], "embedded:photos", samples=100, max_side=96))["rotation-easy", "blind"]
        == "passes"
    )


def test_what_cannot_be_audited_is_named(source):
    with pytest.raises(UsageError, match="50 samples or more"):
        audit([config(Turned)], source, samples=10)
    with pytest.raises(UsageError, match="once"):
        audit([config(Turned), config(Turned)], source)
    with pytest.raises(UsageError, match="no task to audit: name one"):
        audit([], source)
    with pytest.raises(UsageError, match="no task 'nosuch'"):
        audit(["nosuch"], source)
    with pytest.raises(UsageError, match="max_side 24 is below its min_side 28"):
        audit(["rotation:easy"], source, max_side=24)
    with pytest.raises(UsageError, match="5 or more unrelated items"):
        audit([config(Turned)], MemorySource({"a": synthetic_picture(1)}), samples=50)


def test_a_missing_library_is_named_before_anything_is_rendered(source, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    rendered: list[AuditProgress] = []
    with pytest.raises(MissingExtra, match=r"pip install 'ssl4rl-core\[audit\]'"):
        audit([config(Coin)], source, samples=60, report=rendered.append)
    assert rendered == []


def test_samples_are_drawn_evenly_over_items_and_a_source_without_any_is_named(source):
    drawn = [sample.record for _, sample in draw_samples([config(Turned), config(Coin)], source, 80)]
    assert len(drawn) == 160
    assert len({(record.task, record.item, record.variant) for record in drawn}) == 160
    assert len({record.item for record in drawn}) == 40
    with pytest.raises(UsageError, match=r"no item of memory:none can become a question of turned-easy: it is empty"):
        list(draw_samples([config(Turned)], MemorySource({}, name="memory:none"), 5))


def test_statistics_are_finite_and_named_by_trace(source):
    sample = next(sample for _, sample in draw_samples([config(Turned)], source, 1))
    features = image_statistics(replace(sample, images=(*sample.images, Image.new("RGB", (1, 1)))))
    assert all(value == value and abs(value) < 1e6 for value in features.values())
    assert {name.partition(":")[0] for name in features} == set(TRACES)


class Fixed(Coin):
    """A question whose answer the picture decides, whatever the variant."""

    name = "fixed"

    def transform(self, item, params, rng, view):
        return super().transform(item, params, np.random.default_rng(item.position), view)


def test_the_interval_is_over_items_and_not_over_their_variants(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(registry().tasks, "fixed", Fixed())
    for number in range(20):
        synthetic_picture(number).save(tmp_path / f"{number}.png")
    asked = ["audit", "fixed", "--source", f"folder:{tmp_path}", "--samples", "800"]
    assert run([*asked, "--json"]) == 0
    row = next(row for row in json.loads(capsys.readouterr().out) if row["probe"] == "blind")
    # 20 answers are to be guessed, however often each: of 20 alone it is some 0.4 wide, of 800 some 0.07.
    assert row["n"] == 800 and row["low"] <= row["score"] <= row["high"] and row["high"] - row["low"] > 0.25
    assert run(asked) == 0
    assert f"{100 * row['low']:.1f}-{100 * row['high']:.1f}" in capsys.readouterr().out


@pytest.fixture
def leaky(tmp_path, source):
    for entry in source.index("image").entries:
        source.load("image", entry).image.save(tmp_path / f"{entry.id}.png")
    tasks = registry().tasks
    for task in (Turned, Coin):
        register(task)
    yield f"folder:{tmp_path}"
    for task in (Turned, Coin):
        tasks.pop(task.name, None)


def test_the_command_exits_with_1_where_a_task_leaks(leaky, capsys):
    assert run(["audit", "turned", "coin", "--source", leaky, "--samples", "120", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert {row["config"]: row["verdict"] for row in rows if row["probe"] == "blind"} == {
        "turned-easy": "LEAKS",
        "coin-easy": "passes",
    }
    assert run(["audit", "coin", "--source", leaky, "--samples", "60"]) == 0
    assert "coin-easy" in capsys.readouterr().out
