"""Which samples a recipe or a command means by a task's name."""

import contextlib

import pytest

from data_builders import build
from ssl4rl_core import UsageError
from ssl4rl_core.samples import SampleSet, Split
from ssl4rl_core.tasks import Skip
from ssl4rl_core.testing.memory import synthetic_source
from ssl4rl_core.testing.sources import noise
from ssl4rl_core.training.data import open_data, open_downstream
from ssl4rl_core.training.recipe import DataSettings, TaskSettings, parse_recipe


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("built") / "out"
    build(["rotation", "rotation:paper", "position:easy?min_side=25"], synthetic_source(8), out, max_side=64)
    return str(out)


def configs(built: str, spec: str) -> list[str]:
    return list(open_data(DataSettings(build=built), [TaskSettings(task=spec)]).weights)


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("rotation", ["rotation-easy", "rotation-medium", "rotation-hard"]),
        ("rotation:paper", ["rotation-paper"]),
        ("rotation-paper", ["rotation-paper"]),
        ("position", ["position-easy-min-side-25"]),
        ("position?min_side=25", ["position-easy-min-side-25"]),
        ("position:easy?min_side=25", ["position-easy-min-side-25"]),
    ],
)
def test_a_spec_means_the_same_of_a_build_as_of_a_source(built, spec, names):
    assert configs(built, spec) == names


def test_a_recipe_whose_pictures_would_all_be_too_small_is_refused(tmp_path):
    (tmp_path / "a.jpg").write_bytes(noise(0))
    data = DataSettings(source=f"folder:{tmp_path}", max_side=56)
    with pytest.raises(UsageError, match=r"for rotation-easy-min-side-64: max_side 56 is below its min_side 64: .*=56"):
        open_data(data, [TaskSettings(task="rotation:easy?min_side=64")])
    assert open_data(data, [TaskSettings(task="rotation:easy?min_side=56")]).weights


@pytest.mark.parametrize("spec", ["jigsaw", "position:hard", "position:easy", "rotation?min_side=7"])
def test_what_a_build_does_not_hold_is_named(built, spec):
    with pytest.raises(UsageError, match=r"the build .* has no"):
        configs(built, spec)


def test_a_downstream_task_is_asked_about_what_no_task_of_its_source_trains_on(pictures):
    pytest.importorskip("networkx", reason="needs the extra 'graph'")
    made = parse_recipe(
        f"""
model: m
data: {{source: "folder:{pictures}", test_fraction: 0.5}}
tasks: [rotation, {{task: "link:easy", data: {{source: "networkx:karate"}}}}]
evaluate: {{downstream: [{{task: "link:medium", source: "networkx:karate"}}]}}
output: run
"""
    )
    [downstream] = open_downstream(made, made.evaluate.downstream)
    trained = _groups(open_data(made.data, made.tasks).samples, "link-easy", "train")
    asked = _groups(downstream.samples, "link-medium", "test")
    assert trained and asked and not trained & asked


def _groups(samples: SampleSet, config: str, split: Split) -> set[str]:
    found: set[str] = set()
    for number in range(samples.size(config, split)):
        with contextlib.suppress(Skip):
            found.add(samples.sample(config, split, number).record.group)
    return found


def test_one_source_is_held_out_by_one_share(pictures):
    data = f'{{source: "folder:{pictures}"}}'
    tasks = f'[rotation, {{task: jigsaw, data: {{source: "folder:{pictures}", test_fraction: 0.3}}}}]'
    with pytest.raises(UsageError, match=r"line 3, tasks\.1\.data: tasks of one source hold out other shares"):
        parse_recipe(f"model: m\ndata: {data}\ntasks: {tasks}\noutput: run\n")
