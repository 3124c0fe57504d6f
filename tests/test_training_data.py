"""Which samples a recipe or a command means by a task's name."""

import pytest

from data_builders import build
from ssl4rl_core import UsageError
from ssl4rl_core.testing.memory import synthetic_source
from ssl4rl_core.testing.sources import noise
from ssl4rl_core.training.data import open_data
from ssl4rl_core.training.recipe import DataSettings, TaskSettings


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
