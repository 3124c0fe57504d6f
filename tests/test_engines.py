"""Engines: local processes and Ray write the same bytes, whichever of their workers die on the way."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_builders import build
from ssl4rl_core import MissingExtra, Ssl4rlError, UsageError, load_file
from ssl4rl_core.cli import run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes by POSIX signals")
needs_ray = pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="needs ray: pip install 'ssl4rl-core[ray]'")

# A source whose reader is killed at one item, as often as there are files in a folder; and one that raises there.
PLUGIN = """
import os
import signal
from pathlib import Path

from ssl4rl_core import UsageError, hookimpl
from ssl4rl_core.testing.memory import MemorySource, synthetic_picture

class Deadly(MemorySource):
    \"\"\"Forty pictures.\"\"\"

    scheme = "deadly"
    example = "deadly:folder"

    @classmethod
    def open(cls, where, **options):
        source = cls({f"album/{n}": synthetic_picture(n, 64, 48) for n in range(40)}, name="deadly:pictures")
        source.where = where
        return source

    def load(self, kind, entry, *, max_side=None):
        if entry.position == 17:
            for life in sorted(Path(self.where).glob("life*")):
                life.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            if Path(self.where, "refuse").exists():
                raise UsageError("item 17 is refused")
        return super().load(kind, entry, max_side=max_side)

@hookimpl
def ssl4rl_sources():
    return [Deadly]
"""
TASKS = ["rotation:paper", "position:easy"]
OPTIONS: dict[str, Any] = {"shard_size": 5, "max_side": 48}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def lives(folder: Path, count: int) -> str:
    """The source, in whose folder so many readers will be killed."""
    folder.mkdir()
    for number in range(count):
        (folder / f"life{number}").touch()
    return f"deadly:{folder}"


@pytest.fixture(scope="module")
def plugin(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("plugin") / "deadly.py"
    file.write_text(PLUGIN)
    load_file(file)
    return file


@pytest.fixture(scope="module")
def undisturbed(plugin, tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    build(TASKS, lives(folder / "lives", 0), folder / "out", **OPTIONS)
    return contents(folder / "out")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A Ray that runs already, for which it is faster to be joined than started."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


def test_a_unit_that_kills_its_workers_ends_the_build_and_is_named(undisturbed, tmp_path):
    source, out = lives(tmp_path / "lives", 3), tmp_path / "out"
    with pytest.raises(Ssl4rlError) as raised:
        build(TASKS, source, out, workers=2, **OPTIONS)
    unit = str(raised.value).split("doing ")[1].split()[0]
    assert str(raised.value) == (
        f"3 worker processes died while doing {unit} (killed, or out of memory?): run the same command again to "
        "resume, perhaps with fewer --workers"
    )
    assert not list((tmp_path / "lives").iterdir()) and not [path for path in out.rglob("*") if path.name[0] == "."]
    # That one alone, of two that were under way each time.
    assert f"rotation-paper/{unit}.tar" in undisturbed and not (out / "rotation-paper" / f"{unit}.tar").exists()
    build(TASKS, source, out, workers=2, **OPTIONS)
    assert contents(out) == undisturbed


def test_a_script_whose_workers_run_it_again_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom data_builders import build\n"
        "from ssl4rl_core.testing.memory import synthetic_source\n"
        "build(['rotation:paper'], synthetic_source(4), sys.argv[1], workers=2, shard_size=1)\n"
    )
    done = subprocess.run([sys.executable, script, tmp_path / "out"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "died before they began (is what the script does under if __name__ == '__main__'?" in done.stderr


@needs_ray
def test_ray_started_for_a_build_writes_the_same_bytes_though_workers_are_killed(plugin, undisturbed, tmp_path):
    source, out = lives(tmp_path / "lives", 2), tmp_path / "out"
    tasks = [word for task in TASKS for word in ("--task", task)]
    options = [word for name, value in OPTIONS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = [*("--plugin", str(plugin)), "build", *tasks, *("--source", source), *("--out", str(out)), *options]
    done = subprocess.run(
        [sys.executable, "-m", "ssl4rl_core.cli", *command, "--engine", "ray", "--workers", "2", "--json"],
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert sum(line["samples"] for line in json.loads(done.stdout)) == 80
    assert not list((tmp_path / "lives").iterdir())
    assert contents(out) == undisturbed


@needs_ray
def test_a_ray_that_runs_is_joined_and_left_running(cluster, plugin, undisturbed, tmp_path):
    import ray

    source, out = lives(tmp_path / "lives", 3), tmp_path / "out"
    with pytest.raises(Ssl4rlError, match=r"3 Ray workers died while doing t\w+-0000\d-of-\d+ \(killed, or out of"):
        build(TASKS, source, out, engine="ray", ray_address=cluster, **OPTIONS)
    (tmp_path / "lives" / "refuse").touch()
    with pytest.raises(UsageError, match=r"^item 17 is refused$"):
        build(TASKS, source, out, engine="ray", workers=2, **OPTIONS)
    assert not [path for path in out.rglob("*") if path.name[0] == "."]
    (tmp_path / "lives" / "refuse").unlink()
    heard = []
    build(TASKS, source, out, engine="ray", workers=2, progress=heard.append, **OPTIONS)
    assert contents(out) == undisturbed
    assert heard[-1].items == heard[-1].of_items > 0
    assert ray.is_initialized()


@needs_ray
@pytest.mark.parametrize("lives", [2, 3])
def test_kills_by_rays_memory_monitor_count_as_deaths(lives, cluster, plugin, undisturbed, tmp_path, monkeypatch):
    import ray
    from ray.exceptions import OutOfMemoryError

    (tmp_path / "lives").mkdir()
    get, kills = ray.get, [OutOfMemoryError("Task was killed due to the node running low on memory")] * lives

    def killed(reference: Any) -> Any:
        if kills:
            raise kills.pop()
        return get(reference)

    monkeypatch.setattr(ray, "get", killed)
    words = {"engine": "ray", "workers": 1, **OPTIONS}
    if lives == 3:
        with pytest.raises(Ssl4rlError, match=r"^3 Ray workers died while doing train-00000"):
            build(TASKS, f"deadly:{tmp_path / 'lives'}", tmp_path / "out", **words)
    else:
        build(TASKS, f"deadly:{tmp_path / 'lives'}", tmp_path / "out", **words)
        assert contents(tmp_path / "out") == undisturbed
    assert not kills


@needs_ray
def test_an_address_without_a_ray_is_one_line(tmp_path, plugin, monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", unreachable)
    with pytest.raises(Ssl4rlError, match=r"^no Ray cluster answers at '10\.0\.0\.1:6379': Could not reach it: mend$"):
        build(TASKS, lives(tmp_path / "lives", 0), tmp_path / "out", engine="ray", ray_address="10.0.0.1:6379")


def unreachable(address: str, **options: object) -> None:
    raise ConnectionError("Could not\nreach it: mend")


def test_without_ray_one_line_says_what_to_install(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"the Ray engine needs the extra 'ray'.*pip install 'ssl4rl-core\[ray\]'$"):
        build(["rotation:paper"], "embedded:photos", tmp_path / "out", engine="ray")
    words = ["build", "--task", "rotation:paper", "--source", "embedded:photos", "--out", str(tmp_path / "out")]
    assert run([*words, "--engine", "ray"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert run([*words, "--engine", "spark"]) == 2
