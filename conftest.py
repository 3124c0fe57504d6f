"""What every test needs."""

import pytest


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexes of sources go to a folder of the test run, not to the user's cache."""
    monkeypatch.setenv("SSL4RL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
