"""The conformance kit as its users meet it: a table, JSON, exit codes, a test a check, and the recorded digest."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ssl4rl_core import Ssl4rlError, UsageError, load_file, registry
from ssl4rl_core.cli import run
from ssl4rl_core.plugins import Registry
from ssl4rl_core.testing.checks import CHECKS, Subject, digest_file, record, run_check
from ssl4rl_core.testing.checks.answers import is_pickle
from ssl4rl_core.testing.generated import generated_source, odd_source
from ssl4rl_core.testing.memory import synthetic_picture

TASK = '''
"""Which half of a picture was darkened?"""

import numpy as np
from PIL import Image

from ssl4rl_core import Choice, Draft, Field, ImageItem, ImageParams, Task, hookimpl


class HalfParams(ImageParams):
    strength: float = Field(default=0.5, gt=0, lt=1, description="how much darker the half becomes")


class Half(Task[ImageItem, HalfParams]):
    """Which half of the picture was darkened?"""

    name, version = "NAME", 1
    levels = {"easy": HalfParams(), "hard": HalfParams(strength=0.25)}
    prompt = "<image>\\nOne half of this picture was darkened. Which one?"

    def transform(self, item, params, rng, view):
        side = ("left", "right")[int(rng.integers(2))]
        pixels = np.array(item.image, dtype=np.float32)
        half = pixels.shape[1] // 2
        pixels[:, slice(None, half) if side == "left" else slice(half, None)] *= 1 - params.strength
        return Draft(answer=Choice(side, ("left", "right")), images=[Image.fromarray(pixels.astype(np.uint8))])

    def chance(self, params):
        return 1 / 2


@hookimpl
def ssl4rl_tasks():
    return [Half]
'''


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry with sources and formats alone, so that tasks of these tests stay among themselves."""
    found = Registry()
    found.sources, found.formats = dict(registry().sources), dict(registry().formats)
    for module in ("ssl4rl_core.plugins", "ssl4rl_core.cli.check_command"):
        monkeypatch.setattr(f"{module}.registry", lambda: found)
    return found


def written(folder: Path, name: str, *changes: tuple[str, str]) -> Path:
    """The task as an unpackaged plugin, with parts of its code replaced."""
    code = TASK.replace("NAME", name)
    for old, new in changes:
        assert old in code
        code = code.replace(old, new)
    folder.mkdir(exist_ok=True)
    file = folder / f"{name.replace('-', '_')}.py"
    file.write_text(code)
    return file


def test_a_good_task_passes_every_check_and_the_exit_code_is_0(alone, tmp_path, capsys):
    file = written(tmp_path, "half-good")
    assert run(["check", "half-good", "--plugin", str(file), "--json"]) == 0
    outcomes = {each["check"]: each for each in json.loads(capsys.readouterr().out)}
    assert list(outcomes) == [check.name for check in CHECKS]
    assert {name for name, each in outcomes.items() if each["status"] != "passed"} == {"version"}
    # The file lies in no distribution, as in an installed wheel: what cannot be done there is not advised.
    assert "pyproject.toml" in outcomes["version"]["note"] and "--record" not in outcomes["version"]["note"]


def test_a_fault_says_what_was_expected_what_came_and_where(alone, tmp_path, capsys):
    file = written(tmp_path, "half-off", ("return 1 / 2", "return 1 / 4"))
    assert run(["check", "half-off", "--plugin", str(file), "--level", "hard", "--only", "chance"]) == 1
    shown = capsys.readouterr().out
    assert "failed" in shown
    assert "expected: at most 0.250 without looking" in shown
    assert "where: Half.chance, half_off.py line 28 (level hard)" in shown


def test_a_chance_that_is_wrong_is_one_fault_a_level_and_names_the_best_guesser(alone, tmp_path, capsys):
    file = written(tmp_path, "half-low", ("return 1 / 2", "return 1 / 4"))
    assert run(["check", "half-low", "--plugin", str(file), "--only", "chance", "--json"]) == 1
    [outcome] = json.loads(capsys.readouterr().out)
    easy, hard = outcome["faults"]
    assert easy["where"].endswith("(level easy)") and hard["where"].endswith("(level hard)")
    assert all(re.search(r"^0\.5\d\d over 300 samples by .+, the best guesser \(p = ", f["came"]) for f in (easy, hard))


def test_a_source_of_too_few_items_for_a_wrong_chance_to_show_is_told_so(alone, tmp_path, capsys):
    file = written(tmp_path, "half-few", ("return 1 / 2", "return 1 / 4"))
    for number in range(60):
        folder = tmp_path / ("few" if number < 9 else "more")
        folder.mkdir(exist_ok=True)
        synthetic_picture(number, 48, 40).save(folder / f"{number}.png")
    asked = ["check", "half-few", "--plugin", str(file), "--level", "easy", "--only", "chance", "--only", "hardening"]
    assert run([*asked, "--source", f"folder:{tmp_path / 'few'}"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert re.search(r"few gave \d unrelated items: a score above chance is told from luck in \d\d or more", shown)
    assert shown.count("unrelated items") == 2 and "75 adversaries" in shown
    assert run([*asked, "--source", f"folder:{tmp_path / 'more'}"]) == 1
    shown = capsys.readouterr().out
    assert "at most 0.250 without looking" in shown and "unrelated items" not in shown


def test_in_a_pipe_a_check_is_one_line(alone, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    file = written(tmp_path, "half-piped")
    assert run(["check", "half-piped", "--plugin", str(file), "--only", "determinism"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("determinism")]
    assert line.endswith(next(check.about for check in CHECKS if check.name == "determinism"))


@pytest.mark.parametrize(
    ("arguments", "mend"),
    [
        (["no-such-task"], "no task 'no-such-task'"),
        (["half-used", "--level", "eazy"], "no level 'eazy': easy, hard"),
        (["half-used", "--only", "taste"], "no check 'taste': there are docs, params"),
        (["half-used", "--source", "networkx:karate"], "holds no item of kind image"),
        (["half-used", "--record"], "no place to record"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(alone, tmp_path, capsys, arguments, mend):
    file = written(tmp_path, "half-used")
    assert run(["check", *arguments, "--plugin", str(file)]) == 2
    shown = capsys.readouterr().err
    assert mend in shown and shown.count("\n") == 1


def test_a_source_of_ones_own_is_what_is_asked_about(alone, tmp_path, capsys):
    pytest.importorskip("skimage", reason="asks about the photographs of scikit-image")
    file = written(tmp_path, "half-photos", ("import numpy as np\n", "import numpy as np\n\nSEEN = []\n"))
    file.write_text(file.read_text().replace("        side =", "        SEEN.append(item.id)\n        side ="))
    asked = ["check", "half-photos", "--plugin", str(file), "--source", "embedded:photos"]
    assert run([*asked, "--only", "prompt", "--only", "version"]) == 0
    assert "leave out the source" in " ".join(capsys.readouterr().out.split())
    (module,) = (module for name, module in sys.modules.items() if name.startswith("ssl4rl_file_half_photos"))
    assert "chelsea" in module.SEEN


class Distribution:
    """A source checkout with one task, loaded anew whenever its code changes."""

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name = root, name
        root.mkdir()
        (root / "pyproject.toml").write_text("")

    def subject(self, *changes: tuple[str, str], levels: tuple[str, ...] = ()) -> Subject:
        found = Registry()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ssl4rl_core.plugins.registry", lambda: found)
            load_file(written(self.root, self.name, *changes))
        task = found.tasks[self.name]
        return Subject(task, None, levels, digest_file(type(task)))

    def version(self, *changes: tuple[str, str], levels: tuple[str, ...] = ()) -> tuple[str, str]:
        (check,) = (check for check in CHECKS if check.name == "version")
        outcome = run_check(check, self.subject(*changes, levels=levels))
        return outcome.status, outcome.faults[0].came if outcome.faults else outcome.note


DARKER = ("pixels[:,", "pixels -= 1\n        pixels[:,")
LENIENT = ("    def chance", "    def verify(self, answer, text):\n        return 1.0\n\n    def chance")
SECOND = ('"half-recorded", 1', '"half-recorded", 2')


def test_a_change_without_a_new_version_is_caught_and_a_new_version_is_recorded(tmp_path):
    checkout = Distribution(tmp_path / "checkout", "half-recorded")
    status, note = checkout.version()
    assert status == "not run" and "run 'ssl4rl check half-recorded --record'" in note
    file = record(checkout.subject())
    assert file == checkout.root / "tests" / "digest.json"
    assert checkout.version() == ("passed", "")
    for change in (DARKER, LENIENT):
        status, came = checkout.version(change)
        assert status == "failed" and "easy, hard: bump version" in came
        assert came.endswith("or delete tests/digest.json if this version was never published")
        with pytest.raises(UsageError, match=r"its version is still 1: bump it.* or delete tests/digest\.json"):
            record(checkout.subject(change))
    assert checkout.version(DARKER, SECOND) == ("failed", "version 2")
    record(checkout.subject(DARKER, SECOND))
    assert checkout.version(DARKER, SECOND) == ("passed", "")


def test_one_level_may_be_checked_alone_and_a_new_one_wants_a_record(tmp_path):
    checkout = Distribution(tmp_path / "checkout", "half-levels")
    record(checkout.subject(levels=("easy",)))
    assert set(json.loads((checkout.root / "tests" / "digest.json").read_text())["half-levels"]["levels"]) == {
        *("easy", "hard")
    }
    assert checkout.version(levels=("hard",)) == ("passed", "")
    status, came = checkout.version(('"hard":', '"medium": HalfParams(strength=0.4), "hard":'))
    assert status == "failed" and "none of medium" in came


def test_other_libraries_are_no_fault_of_the_task(tmp_path):
    checkout = Distribution(tmp_path / "checkout", "half-libraries")
    file = record(checkout.subject())
    recorded = json.loads(file.read_text())
    recorded["half-libraries"]["libraries"]["pillow"] = "9.9"
    file.write_text(json.dumps(recorded))
    assert checkout.version() == ("passed", "")
    status, note = checkout.version(DARKER)
    assert status == "not run" and "pillow 9.9 then" in note


def test_a_task_that_fails_cannot_be_recorded(tmp_path):
    checkout = Distribution(tmp_path / "checkout", "half-failing")
    with pytest.raises(Ssl4rlError, match="cannot be recorded: ZeroDivisionError"):
        record(checkout.subject(("        side =", "        1 / 0\n        side =")))
    assert not (checkout.root / "tests").exists()


def test_one_line_in_a_tasks_tests_makes_a_test_of_each_check(tmp_path):
    written(tmp_path, "half-tested", ("return 1 / 2", "return 1 / 4"))
    (tmp_path / "test_half.py").write_text(
        "from half_tested import Half\nfrom ssl4rl_core.testing import conformance\ntest_kit = conformance(Half)\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-rA",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "-k",
            "docs or determinism or chance",
            "test_half.py",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1, done.stdout
    assert "PASSED test_half.py::test_kit[determinism]" in done.stdout
    assert "FAILED test_half.py::test_kit[chance]" in done.stdout
    assert "expected: at most 0.250 without looking" in done.stdout
    assert f"1 failed, 2 passed, {len(CHECKS) - 3} deselected" in done.stdout


def test_generated_data_is_the_same_every_time():
    for domain in ("image", "graph"):
        assert generated_source(domain).fingerprint() == generated_source(domain).fingerprint()
        assert odd_source(domain).fingerprint() == odd_source(domain).fingerprint()
    with pytest.raises(UsageError, match="name a source of it"):
        generated_source("video")


def test_pickles_are_told_from_text_without_being_run():
    import base64
    import pickle

    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("it was run",))

    for protocol in (2, 4, 5):
        data = pickle.dumps(Bomb(), protocol)
        assert is_pickle(base64.b64encode(data).decode())
        assert is_pickle(data.hex())
        assert is_pickle(data.decode("latin-1"))
    for text in ("", "left", "gASV", "abcd", "80", "a text of some words", "gASVnotreallyapicklebutbase64===="):
        assert not is_pickle(text)
