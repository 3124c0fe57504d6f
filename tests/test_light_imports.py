"""What everybody waits for stays light: no heavy library is loaded before it is needed."""

import json
import subprocess
import sys
import time

import pytest

HEAVY = ("torch", "transformers", "trl", "cv2", "albumentations", "webdataset", "matplotlib", "sklearn", "skimage")
LISTING = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"


@pytest.mark.parametrize(
    "arguments",
    [None, ["--help"], ["--version"], ["tasks"], ["report", "--help"], ["preview", "--help"], ["eval", "--help"]],
)
def test_nothing_heavy_is_loaded(arguments):
    code = (
        "import ssl4rl_core" if arguments is None else f"from ssl4rl_core.cli import run; assert run({arguments}) == 0"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", f"{code}\n{LISTING}"], capture_output=True, text=True, timeout=300)
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "ssl4rl_core" in loaded and not loaded & set(HEAVY)
    # One second is the aim on an idle machine; torch alone would take three or more on a busy one.
    assert seconds < 10
