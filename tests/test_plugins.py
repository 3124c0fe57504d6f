"""Plugins that fail in every way a stranger's code can, beside one that works."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

import ssl4rl_core.plugins
from ssl4rl_core.cli import run
from ssl4rl_core.errors import Ssl4rlError, UsageError
from ssl4rl_core.plugins import Plugin, Registry

WORKING = """
    from ssl4rl_core import Choice, Draft, ImageItem, ImageParams, Task, hookimpl

    class Half(Task[ImageItem, ImageParams]):
        '''Which half?'''

        name, version, levels = "{task}", 1, {{"easy": ImageParams()}}
        prompt = "<image> Which half?"

        def transform(self, item, params, rng, view):
            return Draft(images=[item.image], answer=Choice("left", ["left", "right"]))

        def chance(self, params):
            return 0.5

    @hookimpl
    def ssl4rl_tasks():
        return [Half]
"""
GREETER = """
    from ssl4rl_core import hookimpl

    @hookimpl
    def ssl4rl_commands(app):
        @app.command("greet")
        def greet():
            print("good morning")
"""
BAD_LEVELS = """
from ssl4rl_core import ImageItem, ImageParams, Task
class Half(Task[ImageItem, ImageParams]):
    name, version = "half-bad", 1
    levels = {levels}
"""
BROKEN = {
    "raises": ("1 / 0", "ZeroDivisionError: division by zero"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "panics": ("class Panic(BaseException): pass\nraise Panic('in Rust')", "Panic: in Rust"),
    "imports": ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    "misspells": (
        "from ssl4rl_core import hookimpl\n@hookimpl\ndef ssl4rl_task(): return []",
        "there is no hook 'ssl4rl_task'; did you mean 'ssl4rl_tasks'?",
    ),
    "takesmore": (
        "from ssl4rl_core import hookimpl\n@hookimpl\ndef ssl4rl_commands(app, registry): pass",
        "hook ssl4rl_commands takes app, and is written with 'registry'",
    ),
    "badlevel": (
        BAD_LEVELS.format(levels='{\n    "easy": ImageParams(),\n    "hard": ImageParams(min_side=0),\n}'),
        "task half-bad: min_side: Input should be greater than or equal to 1, got 0 (broken_badlevel.py, line 7)",
    ),
    "nofield": (
        BAD_LEVELS.format(levels='{name: ImageParams(side=9) for name in ("easy", "hard")}'),
        "task half-bad: side: there is no such field (broken_nofield.py, line 5)",
    ),
    "longvalue": (
        textwrap.dedent(WORKING).format(task="half-less").replace("ImageParams()}", "ImageParams(min_side='x' * 999)}"),
        "task Half: min_side: Input should be a valid integer, unable to parse string as an integer, got",
    ),
    "badanswer": (
        "from ssl4rl_core import Angle\nLEFT = Angle(10, step=7)",
        "Angle: step must divide 360 and be at most 180, got 7 (broken_badanswer.py, line 2)",
    ),
    "silent": ("x = 1", "it implements no hook"),
    "nothing": (
        "from ssl4rl_core import hookimpl\n@hookimpl\ndef ssl4rl_tasks(): pass",
        "ssl4rl_tasks must return a list",
    ),
    "nolist": ("from ssl4rl_core import hookimpl\n@hookimpl\ndef ssl4rl_tasks(): return 42", "must return a list"),
    "nonsense": ("from ssl4rl_core import hookimpl\n@hookimpl\ndef ssl4rl_tasks(): return ['half']", "got 'half'"),
    "badformat": (
        "from ssl4rl_core import hookimpl\n@hookimpl\ndef ssl4rl_formats(): return [dict]",
        "ssl4rl_formats must return ResponseFormat classes, got <class 'dict'>",
    ),
    "badsource": (
        "from ssl4rl_core import hookimpl\n@hookimpl\ndef ssl4rl_sources(): return [7]",
        "ssl4rl_sources must return Source classes, got 7",
    ),
    "hookraises": ("from ssl4rl_core import hookimpl\n@hookimpl\ndef ssl4rl_tasks(): raise OSError('disk')", "disk"),
    "halfway": (
        textwrap.dedent(WORKING).format(task="half-of-it")
        + "\n@hookimpl\ndef ssl4rl_formats(): raise ValueError('after the task')\n",
        "ValueError: after the task",
    ),
    "badcommand": (
        "from ssl4rl_core import hookimpl\n@hookimpl\ndef ssl4rl_commands(app):\n"
        "    @app.command('bad')\n    def bad(value: 'NoSuchType'): pass",
        "NameError: name 'NoSuchType' is not defined",
    ),
    "usurper": (
        "from ssl4rl_core import hookimpl\n@hookimpl\ndef ssl4rl_commands(app):\n"
        "    @app.command()\n    def tasks(): pass",
        "command 'tasks' is there already",
    ),
    "nocommand": (
        "from ssl4rl_core import hookimpl\n@hookimpl\ndef ssl4rl_commands(app): raise ValueError('no command')",
        "ValueError: no command",
    ),
}


class Site:
    """A folder of fake distributions, and what a command line that sees them says."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(
        self, distribution: str, code: str, *, requires: str = "", metadata: bool = True, group: str = "ssl4rl"
    ) -> None:
        """Install a distribution with one module and one entry point, or none where the group is ""."""
        module = distribution.replace("-", "_")
        (self.path / f"{module}.py").write_text(textwrap.dedent(code))
        info = self.path / f"{module}-1.2.dist-info"
        info.mkdir()
        if group:
            (info / "entry_points.txt").write_text(f"[{group}]\n{distribution} = {module}\n")
        if metadata:
            required = f"Requires-Dist: {requires}\n" if requires else ""
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n{required}")

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        paths = os.pathsep.join([str(self.path), *filter(None, [os.environ.get("PYTHONPATH")])])
        return subprocess.run(
            [sys.executable, "-c", "from ssl4rl_core.cli import main; main()", *arguments],
            env={**os.environ, "PYTHONPATH": paths, **variables},
            capture_output=True,
            text=True,
            timeout=300,
        )

    def plugins(self, **variables: str) -> dict[str, dict]:
        done = self.run("plugins", "--json", **variables)
        assert done.returncode == 0, done.stderr
        return {plugin["distribution"]: plugin for plugin in json.loads(done.stdout)}


@pytest.fixture
def site(tmp_path) -> Site:
    return Site(tmp_path)


def test_each_broken_plugin_is_listed_with_its_error_and_stops_nobody(site):
    for name, (code, _) in BROKEN.items():
        site.add(f"broken-{name}", code)
    site.add("good", WORKING.format(task="half-of-good"))
    plugins = site.plugins()
    for name, (_, error) in BROKEN.items():
        plugin = plugins[f"broken-{name}"]
        assert error in plugin["error"], plugin
        assert "pydantic" not in plugin["error"] and "pluggy" not in plugin["error"]
        assert len(plugin["error"]) < 250
        assert plugin["version"] == "1.2" and plugin["provides"] == [] and "\n" not in plugin["error"]
    assert plugins["good"]["provides"] == ["task half-of-good"] and plugins["good"]["error"] == ""

    listed = site.run("tasks", "--json")
    assert listed.returncode == 0
    assert "half-of-it" not in {task["name"] for task in json.loads(listed.stdout)}
    assert ("half-of-good", "good") in {(task["name"], task["plugin"]) for task in json.loads(listed.stdout)}
    assert "broken-raises" in listed.stderr


def test_of_two_plugins_with_one_task_name_the_second_is_refused_and_told_whose_it_is(site):
    site.add("first", WORKING.format(task="half-of-two"))
    site.add("second", WORKING.format(task="half-of-two"))
    plugins = site.plugins()
    assert plugins["first"]["error"] == ""
    assert plugins["second"]["error"] == "task 'half-of-two' is already registered by first"


def test_a_plugin_for_a_newer_core_is_refused_before_its_code_runs(site):
    site.add("tomorrow", "raise RuntimeError('must not run')", requires="ssl4rl-core (>=99)")
    site.add("elsewhere", WORKING.format(task="half-elsewhere"), requires="ssl4rl-core>=99; extra == 'other'")
    plugins = site.plugins()
    assert "it needs ssl4rl-core>=99" in plugins["tomorrow"]["error"]
    assert "pip install -U ssl4rl-core" in plugins["tomorrow"]["error"]
    assert plugins["elsewhere"]["error"] == ""


def test_what_a_plugin_prints_does_not_spoil_the_output_for_machines(site):
    noisy = WORKING.format(task="half-with-noise") + "\n    print('hello from a plugin')\n"
    site.add("noisy", noisy)
    done = site.run("tasks", "--json")
    assert "half-with-noise" in {task["name"] for task in json.loads(done.stdout)}
    assert "hello from a plugin" in done.stderr


def test_a_distribution_without_metadata_or_with_unreadable_ones_stops_nobody(site):
    site.add("nameless", WORKING.format(task="half-of-nobody"), metadata=False)
    site.add("latin", "", group="")
    (site.path / "latin-1.2.dist-info" / "METADATA").write_bytes("Name: latin\nAuthor: Zoë\n".encode("latin-1"))
    site.add("good", WORKING.format(task="half-of-good"))
    assert site.plugins()["good"]["provides"] == ["task half-of-good"]


def test_the_variable_picks_the_plugins_that_load(site):
    site.add("picked-one", WORKING.format(task="half-picked"))
    site.add("left-out", "raise RuntimeError('must not run')")
    assert set(site.plugins(SSL4RL_PLUGINS="Picked_One")) == {"ssl4rl-core", "picked-one"}


def test_a_plugin_that_the_variable_names_and_nobody_installed_is_listed(site):
    site.add("picked-one", WORKING.format(task="half-picked"))
    plugins = site.plugins(SSL4RL_PLUGINS="picked-one,piked-two,ssl4rl-core")
    assert plugins["piked-two"]["error"] == "SSL4RL_PLUGINS names it, and it is not installed"
    assert plugins["picked-one"]["error"] == plugins["ssl4rl-core"]["error"] == ""


def test_an_unpackaged_plugin_is_one_option_away(site, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(textwrap.dedent(WORKING.format(task="half-of-mine")))
    done = site.run("--plugin", str(file), "tasks", "--json", SSL4RL_PLUGINS="none")
    assert [task["name"] for task in json.loads(done.stdout)] == ["half-of-mine"]


@pytest.mark.parametrize(
    ("code", "error"),
    [(None, "no plugin file"), ("1 / 0", "ZeroDivisionError"), ("x = 1", "it implements no hook")],
)
def test_an_unpackaged_plugin_that_fails_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, code, error):
    run(["formats"])  # every command is imported with the registry that there is
    capsys.readouterr()
    found = Registry()
    monkeypatch.setattr(ssl4rl_core.plugins, "registry", lambda: found)
    file = tmp_path / "mine.py"
    if code is not None:
        file.write_text(code)
    assert run(["--plugin", str(file), "tasks"]) == 2
    shown = capsys.readouterr().err
    assert error in shown and shown.count("\n") == 1 and found.files == []


def test_a_misspelt_task_is_told_apart_from_one_that_is_not_installed():
    found = Registry()
    scope: dict = {}
    exec(textwrap.dedent(WORKING.format(task="rotation")), scope)
    found.add_task(scope["Half"], Plugin("here", "here", "-"))
    with pytest.raises(UsageError) as misspelt:
        found.task("rotatoin")
    assert "did you mean 'rotation'?" in str(misspelt.value) and "pip install" not in str(misspelt.value)
    with pytest.raises(UsageError, match="pip install ssl4rl-task-colourise may bring it"):
        found.task("colourise")


def test_a_task_registered_again_takes_the_place_of_the_last_but_not_of_an_installed_one(monkeypatch):
    found = Registry()
    monkeypatch.setattr(ssl4rl_core.plugins, "registry", lambda: found)
    classes = []
    for name in ("mine", "mine", "rotation"):
        scope: dict = {}
        exec(textwrap.dedent(WORKING.format(task=name)), scope)
        classes.append(scope["Half"])
    for task in classes[:2]:
        ssl4rl_core.register(task)
    assert type(found.task("mine")) is classes[1]
    found.add_task(classes[2], Plugin("rotation", "ssl4rl-task-rotation", "1.0"))
    with pytest.raises(Ssl4rlError, match="'rotation' is already registered by ssl4rl-task-rotation"):
        ssl4rl_core.register(classes[2])


def test_an_interrupt_is_said_in_a_line(monkeypatch, capsys):
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    run(["--version"])
    monkeypatch.setattr("ssl4rl_core.cli.tasks_command.list_tasks", interrupted)
    assert run(["tasks"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_task_whose_plugin_failed_to_load_is_not_called_missing(site):
    site.add("ssl4rl-task-shade", "def (:")
    done = site.run("check", "shade")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "plugin ssl4rl-task-shade failed to load: SyntaxError: invalid syntax" in done.stderr
    assert "pip install" not in done.stderr


NO_ENTRY_POINT = (
    "it has no entry point in the group ssl4rl{only}: write {line} under [project.entry-points.ssl4rl] in its "
    "pyproject.toml, and install it again"
)


def test_a_distribution_named_as_a_task_whose_entry_point_is_elsewhere_is_told_so(site):
    code = WORKING.format(task="half-lost")
    for name, group in (("ssl4rl-task-wrong", "ssl4rl_tasks"), ("ssl4rl-task-no-group", ""), ("innocent", "")):
        site.add(name, code, group=group)
    expected = {
        "ssl4rl-task-wrong": NO_ENTRY_POINT.format(only=", only in ssl4rl_tasks", line='wrong = "ssl4rl_task_wrong"'),
        "ssl4rl-task-no-group": NO_ENTRY_POINT.format(only="", line='no-group = "ssl4rl_task_no_group"'),
    }
    for plugins in (site.plugins(), site.plugins(SSL4RL_PLUGINS=",".join(expected))):
        assert {name: each["error"] for name, each in plugins.items() if each["error"]} == expected
        assert plugins["ssl4rl-task-wrong"]["version"] == "1.2" and "innocent" not in plugins
    shown = site.run("plugins", "--probe", "--json", SSL4RL_PLUGINS=",".join(expected))
    assert {each["distribution"]: each["error"] for each in json.loads(shown.stdout) if each["error"]} == expected
    for name, error in expected.items():
        done = site.run("check", name.removeprefix("ssl4rl-task-"))
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert f"{name} is installed and not loaded: {error}" in done.stderr


def test_a_task_that_the_variable_leaves_out_is_not_called_missing(site):
    site.add("ssl4rl-task-shade", WORKING.format(task="shade"))
    done = site.run("tasks", "shade", SSL4RL_PLUGINS="other")
    assert "ssl4rl-task-shade is installed and not loaded: SSL4RL_PLUGINS leaves it out" in done.stderr


def test_a_task_asked_for_by_its_distribution_is_told_its_name():
    with pytest.raises(UsageError, match="a task is named without ssl4rl-task-, 'colourise'"):
        Registry().task("ssl4rl-task-colourise")


def test_only_the_list_of_plugins_reads_the_metadata_of_everything(monkeypatch, capsys):
    def read() -> dict:
        raise InterruptedError("this takes time, and only 'ssl4rl plugins' needs it")

    fresh = ssl4rl_core.plugins.registry.__wrapped__
    monkeypatch.setattr("ssl4rl_core.plugins.expected", read)
    for command in ("tasks", "formats"):
        monkeypatch.setattr(f"ssl4rl_core.cli.{command}_command.registry", fresh)
        assert run([command]) == 0
    assert run(["plugins"]) == 1
    assert "only 'ssl4rl plugins' needs it" in capsys.readouterr().err


def test_what_a_failed_plugin_had_registered_is_free_for_another():
    found = Registry()
    first, second = (Plugin(name, name, "-") for name in ("first", "second"))
    modules = [ModuleType("first"), ModuleType("second")]
    for module in modules:
        exec(textwrap.dedent(WORKING.format(task="half")), vars(module))
    exec("@hookimpl\ndef ssl4rl_formats(): raise OSError('no disk')", vars(modules[0]))
    for module, plugin in zip(modules, (first, second), strict=True):
        found.add_module(module, plugin)
    assert (first.provides, second.provides) == ([], ["task half"])
    assert "no disk" in first.error and not second.error
    assert found.origin("task", "half") == "second"


HANGING = "import time; time.sleep(600)"
SLOW = "import time; time.sleep(1.2)\n" + textwrap.dedent(WORKING).format(task="half-slow")
DAEMON = """
import subprocess
from pathlib import Path

Path({pid!r}).write_text(str(subprocess.Popen(["sleep", "60"], start_new_session=True).pid))
"""
CRASHING = "import os, sys; print('last words', file=sys.stderr); os._exit(7)"


def test_the_probe_names_a_plugin_that_hangs_is_slow_or_ends_the_process(site, tmp_path):
    site.add("hanging", HANGING)
    site.add("slow", SLOW)
    site.add("crashing", CRASHING)
    site.add("broken", "print('noise'); 1 / 0")
    site.add("good", WORKING.format(task="half-of-good"))
    site.add("daemon", DAEMON.format(pid=str(tmp_path / "pid")) + textwrap.dedent(WORKING).format(task="half-daemon"))
    chosen = "hanging,slow,crashing,broken,good,daemon"
    done = site.run("plugins", "--probe", "--limit", "6", "--json", SSL4RL_PLUGINS=chosen)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert done.returncode == 0, done.stderr
    probed = {each["distribution"]: each for each in json.loads(done.stdout)}
    assert "still loading after 6 seconds" in probed["hanging"]["error"]
    assert probed["slow"]["slow"] and probed["slow"]["seconds"] > 1.2 and not probed["slow"]["error"]
    assert probed["crashing"]["error"] == "it ended the process with exit code 7: last words"
    assert "ZeroDivisionError" in probed["broken"]["error"]
    assert probed["good"]["provides"] == ["task half-of-good"] and not probed["good"]["slow"]
    # It lives on in a session of its own, with our standard error open.
    assert probed["daemon"]["provides"] == ["task half-daemon"] and not probed["daemon"]["error"]
    assert set(probed) == {"ssl4rl-core", *chosen.split(",")}


def test_a_command_of_an_unpackaged_plugin_is_a_command(site, tmp_path):
    file = tmp_path / "greeter_file.py"
    file.write_text(textwrap.dedent(GREETER))
    assert site.run("--plugin", str(file), "greet").stdout == "good morning\n"
    assert "greet" in site.run(f"--plugin={file}", "--help").stdout


def test_a_command_of_a_plugin_is_a_command(site):
    site.add("greeter", GREETER)
    assert site.run("greet").stdout == "good morning\n"
    assert site.plugins()["greeter"]["provides"] == ["command greet"]
