"""The page of samples: what is on it, and what can never be on it."""

import re

import numpy as np
import pytest
from PIL import Image

from ssl4rl_core import (
    Choice,
    Draft,
    ImageItem,
    ImageParams,
    Skip,
    Ssl4rlError,
    Task,
    UsageError,
    parse_config,
    registry,
)
from ssl4rl_core.cli import run
from ssl4rl_core.preview import preview, sample_some
from ssl4rl_core.testing.memory import MemorySource


class SideParams(ImageParams):
    fussy: bool = False


class Side(Task[ImageItem, SideParams]):
    """Which side is <b>dark</b>?"""

    name, version = "dark-side", 1
    levels = {"easy": SideParams(), "medium": SideParams(), "hard": SideParams(fussy=True)}
    prompt = "<image>\nOf {whose}: which side?\n<image>"

    def transform(self, item, params, rng, view):
        if params.fussy and item.position % 2:
            raise Skip("odd place")
        side = str(rng.choice(["left", "right"]))
        answer = Choice(side, ["left", "right"])
        return Draft(answer, [item.image, item.image], {"whose": "<script>alert(1)</script>"})

    def chance(self, params):
        return 1 / 2


@pytest.fixture(autouse=True)
def _known(monkeypatch):
    monkeypatch.setitem(registry().tasks, "dark-side", Side())


def pictures(count: int, side: int = 40) -> MemorySource:
    rng = np.random.default_rng(0)
    return MemorySource(
        {f"a/<i>{n}</i>": Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8)) for n in range(count)},
        "memory:<noise>",
    )


def test_a_page_shows_questions_as_the_model_sees_them_with_hidden_answers(tmp_path):
    out = tmp_path / "new" / "page.html"
    (level,) = preview("dark-side", pictures(20), out, count=4)
    page = out.read_text()
    assert [each.record.level for each in level.samples] == ["easy"] * 4
    assert page.count('<img src="data:image/png;base64,') == 8
    first_picture, text, second_picture = (page.index(mark) for mark in ("<img", "which side?", "which side?</p>"))
    assert first_picture < text and page.index("<img", second_picture) > text
    assert page.count("First reason step by step inside &lt;think&gt;") == 4
    assert page.count("one of left, right") == 4 and "chance 50 %" in page
    assert page.count("<details") == 4 and '<details class="answer" open>' not in page
    for sample in level.samples:
        assert f'<p class="value">{sample.record.answer_text}</p>' in page


def test_nothing_in_the_page_runs_or_is_loaded_from_elsewhere(tmp_path):
    preview("dark-side", pictures(20), tmp_path / "page.html", count=4)
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page
    assert "a/<i>" not in page and "memory:<noise>" not in page and "is <b>dark" not in page
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", page) and "@import" not in page and "url(" not in page


def test_the_same_seed_gives_the_same_page_and_another_seed_other_samples(tmp_path):
    pages = []
    for seed in (1, 1, 2):
        preview("dark-side", pictures(40), tmp_path / "page.html", count=4, seed=seed)
        pages.append((tmp_path / "page.html").read_bytes())
    assert pages[0] == pages[1] != pages[2]


def test_all_levels_ask_about_the_same_items_and_count_what_they_skip(tmp_path, capsys):
    levels = preview("dark-side?min_side=20", pictures(30), tmp_path / "page.html", level="all", count=3)
    assert [each.config.level.partition("-min")[0] for each in levels] == ["easy", "medium", "hard"]
    items = [[sample.record.item for sample in each.samples] for each in levels]
    assert items[0] == items[1] and all(len(each) == 3 for each in items)
    assert all(sample.record.params == levels[0].samples[0].record.params for sample in levels[1].samples)
    assert levels[2].skipped["odd place"] >= 1
    assert f"{levels[2].skipped['odd place']} × odd place" in (tmp_path / "page.html").read_text()


def test_a_split_holds_only_its_own_items():
    source, seen = pictures(200), {}
    for split in ("train", "test"):
        (level,) = sample_some([parse_config("dark-side", registry())], source, count=8, seed=0, split=split)
        assert {sample.record.split for sample in level.samples} == {split}
        seen[split] = {sample.record.group for sample in level.samples}
    assert seen["test"] and not seen["train"] & seen["test"]


def test_small_pictures_are_enlarged_and_say_so(tmp_path):
    preview("dark-side?min_side=8", pictures(20, side=16), tmp_path / "page.html", count=1)
    page = (tmp_path / "page.html").read_text()
    assert 'width="112" height="112"' in page and "16 × 16 px, shown 7 × as large" in page


def test_a_preview_of_nothing_says_why_and_writes_nothing(tmp_path):
    out = tmp_path / "page.html"
    with pytest.raises(Ssl4rlError, match=r"no sample of dark-side-easy .* 4 x picture smaller than min_side"):
        preview("dark-side", pictures(5, side=20), out)
    with pytest.raises(Ssl4rlError, match="it holds no item"):
        preview("dark-side", pictures(0), out)
    with pytest.raises(UsageError, match="1 sample or more"):
        preview("dark-side", pictures(5), out, count=0)
    with pytest.raises(UsageError, match="max_side 24 is below its min_side 28"):
        preview("dark-side", pictures(5), out, max_side=24)
    assert not list(tmp_path.iterdir())


def test_a_source_of_another_kind_is_refused(tmp_path):
    source = pictures(5)
    source.kinds = ("node",)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(UsageError, match="holds no item of kind image"):
        preview("dark-side", source, tmp_path / "page.html")


def test_the_command_writes_the_page_and_counts(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(type(registry()), "source", lambda self, spec: pictures(20))
    out = tmp_path / "page.html"
    assert run(["preview", "dark-side", "--source", "x:y", "--out", str(out), "-n", "2", "--show-answers"]) == 0
    assert capsys.readouterr().out == f"dark-side-easy: 2 samples, skipped: none\n{out}\n"
    assert out.read_text().count('<details class="answer" open>') == 2
