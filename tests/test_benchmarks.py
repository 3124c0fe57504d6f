"""`mmbench:` and `seedbench:` as a user meets them: the files as they are published, and what is wrong with others."""

import base64
import csv
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ssl4rl_core import QuestionItem, Skip, Ssl4rlError, UsageError, registry
from ssl4rl_core.sources import Source
from ssl4rl_core.testing.sources import noise

OPTIONS = ("red", "green", "blue", "")
HEADER = ("index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image")


def encoded(seed: int) -> str:
    return base64.b64encode(noise(seed)).decode()


def row(index: object, image: str, turn: int = 0, answer: str = "B", hint: str = "") -> tuple[object, ...]:
    """A question with three options, turned as MMBench's files turn them."""
    options = [*OPTIONS[turn:3], *OPTIONS[:turn], ""]
    letter = "ABC"[("ABC".index(answer) - turn) % 3] if answer else ""
    return (index, "Which\tcolour, or 'none'?", hint, *options, letter, "attribute", image)


def write(path: Path, rows: Sequence[Sequence[object]], header: Sequence[str] = HEADER) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows([header, *rows])
    return path


def questions(source: Source) -> list[QuestionItem]:
    items = [source.load("question", entry) for entry in source.index("question")]
    assert all(isinstance(item, QuestionItem) for item in items)
    return [item for item in items if isinstance(item, QuestionItem)]


def test_a_question_in_all_its_turns_is_one_item_as_published(tmp_path):
    rows = [row(1_000_241, "241", turn=1), row(241, encoded(1), hint="Look."), row(2_000_241, "241", turn=2)]
    where = write(tmp_path / "MMBench_DEV_EN.tsv", [*rows, row(7, "241", answer="C"), row(8, encoded(2), hint="nan")])
    source = registry().source(f"mmbench:{where}?license=CC-BY-4.0")
    assert (source.name, source.license) == ("mmbench:MMBench_DEV_EN.tsv", "CC-BY-4.0")
    first, second, third = questions(source)
    assert [item.id for item in (first, second, third)] == ["241", "7", "8"]
    assert (first.question, first.hint, first.category) == ("Which\tcolour, or 'none'?", "Look.", "attribute")
    assert first.options == ("red", "green", "blue") and (first.answer, second.answer) == (1, 2)
    assert second.image.tobytes() == first.image.tobytes() != third.image.tobytes()
    assert first.group == second.group != third.group and third.hint == ""
    assert {entry.split for entry in source.index("question")} == {"test"}
    assert questions(pickle.loads(pickle.dumps(source)))[0].question == first.question


def test_the_fingerprint_tells_of_texts_and_pictures(tmp_path):
    def fingerprint(*rows: Sequence[object]) -> str:
        return registry().source(f"mmbench:{write(tmp_path / 'm.tsv', rows)}").fingerprint()

    first = fingerprint(row(1, encoded(1)))
    assert first == fingerprint(row(1, encoded(1)))
    assert len({first, fingerprint(row(1, encoded(2))), fingerprint(row(1, encoded(1), answer="A"))}) == 3


def seed_bench(folder: Path, **changes: Any) -> Path:
    """SEED-Bench's own JSON, a picture whose file has no ending beside it, and a question about a video."""
    (folder / "SEED-Bench-image").mkdir(exist_ok=True)
    (folder / "SEED-Bench-image" / "1454426_2591111986").write_bytes(noise(1))
    told = {"answer": "D", "question": "How many?", "question_id": "101669", "question_type_id": 5}
    told |= {f"choice_{letter}": number for letter, number in zip("abcd", ("One", "Two", "Three", "Four"), strict=True)}
    image = {**told, "data_id": "1454426_2591111986", "data_type": "image", **changes}
    video = {**told, "data_id": "v.mp4", "data_type": "video", "question_id": "7", "segment": [1, 2]}
    file = folder / "SEED-Bench.json"
    file.write_text(json.dumps({"question_type": {"Instances Counting": 5}, "questions": [image, video]}))
    return file


def test_seed_bench_in_its_own_form(tmp_path):
    source = registry().source(f"seedbench:{seed_bench(tmp_path)}")
    [item] = questions(source)
    assert (item.id, item.question, item.category) == ("101669", "How many?", "Instances Counting")
    assert item.options == ("One", "Two", "Three", "Four") and item.answer == 3 and item.image.size == (24, 24)
    assert len(source.fingerprint()) == 64


def test_seed_bench_pictures_stay_in_their_folder(tmp_path):
    (tmp_path / "secret").write_bytes(noise(1))
    source = registry().source(f"seedbench:{seed_bench(tmp_path, data_id='../secret')}")
    with pytest.raises(Skip, match="path leads outside"):
        questions(source)
    assert len(source.fingerprint()) == 64


def parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    import pyarrow as pa
    from pyarrow import parquet as written

    written.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def test_parquet_and_a_dataset_of_the_hub_give_the_same_questions(tmp_path):
    pytest.importorskip("datasets")
    names = ("A", "B", "C", "D")
    row = {"index": 3, "question": "Which?", "hint": None, "answer": "A", "category": "c", **dict.fromkeys(names)}
    row |= {"A": "yes", "B": "no", "image": {"bytes": noise(1), "path": None}}
    (tmp_path / "set").mkdir()
    file = parquet(tmp_path / "set" / "train-00000-of-00001.parquet", [row, {**row, "index": 4, "answer": "B"}])
    found = [registry().source(f"mmbench:{where}") for where in (file, f"hf:{tmp_path / 'set'}")]
    for source in found:
        first, second = questions(source)
        assert (first.id, first.options, first.answer, second.answer) == ("3", ("yes", "no"), 0, 1)
        assert str(tmp_path) not in source.name


@pytest.fixture
def own_caches(tmp_path, monkeypatch) -> None:
    """What datasets converts goes to a folder of the test, and it does not ask the network."""
    pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HOME", str(tmp_path))


def published(*numbers: int, seed: int = 1) -> list[dict[str, Any]]:
    row = {"question": "Which?", "answer": "A", "A": "yes", "B": "no", "image": {"bytes": noise(seed), "path": None}}
    return [{**row, "index": number} for number in numbers]


def test_hub_datasets_are_opened_as_hf_opens_them(tmp_path, own_caches):
    import datasets

    (tmp_path / "set").mkdir()
    for split, numbers, seed in (("validation", (3, 4), 1), ("test", (5,), 2)):
        parquet(tmp_path / f"set/{split}-00000-of-00001.parquet", published(*numbers, seed=seed))
    (tmp_path / "lone").mkdir()
    parquet(tmp_path / "lone/validation-00000-of-00001.parquet", published(6, 7))
    datasets.Dataset.from_list(published(8, 9)).save_to_disk(tmp_path / "saved")
    for spec, wanted in {
        "hf:~/set?split=validation+test": ["3", "4", "5"],
        f"hf:{tmp_path}/set?split=test+validation": ["5", "3", "4"],
        f"hf:{tmp_path}/lone": ["6", "7"],
        "hf:~/saved": ["8", "9"],
    }.items():
        items = questions(source := registry().source(f"mmbench:{spec}"))
        assert [item.id for item in items] == wanted and str(tmp_path) not in source.name
        shown = {item.id: item.image.tobytes() for item in items}
        assert "5" not in shown or shown["5"] != shown["3"] == shown["4"]


def test_rows_with_one_index_are_refused_not_dropped(tmp_path):
    for name, answer in (("a", "A"), ("b", "B")):
        write(tmp_path / f"{name}.tsv", [row(1, encoded(1), answer=answer), row(1_000_001, "1", turn=1)])
    for scheme, says in (("mmbench", "rows 0 and 2 both have the index '1'"), ("seedbench", "index '1'")):
        with pytest.raises(UsageError, match=says) as caught:
            registry().source(f"{scheme}:{tmp_path}/{{a,b}}.tsv")
        assert "\n" not in str(caught.value)


def test_only_benchmarks_in_turns_have_them_folded(tmp_path):
    where = write(tmp_path / "m.tsv", [row(7, encoded(1)), row(1_000_007, encoded(2)), row("\u00b2", encoded(3))])
    assert [item.id for item in questions(registry().source(f"mmbench:{where}"))] == ["7", "\u00b2"]
    assert [item.id for item in questions(registry().source(f"seedbench:{where}"))] == ["7", "1000007", "\u00b2"]


def test_texts_are_read_as_their_pictures_are(tmp_path):
    header, first = ("\t".join(cells) for cells in (HEADER, map(str, row(1, encoded(1), hint="one\rtwo"))))
    (tmp_path / "m.tsv").write_bytes(f"{header}\n{first}\n".replace("\tcolour", " colour").encode())
    [item] = questions(registry().source(f"mmbench:{tmp_path}/m.tsv"))
    assert item.hint == "one\rtwo" and item.image.size == (24, 24)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([row(1, encoded(1), answer="")], "row 0: the answer is not published.* take a split with answers, as dev"),
        ([(*row(1, encoded(1))[:7], "D", "", encoded(1))], "row 0: the answer is 'D', not the letter of an option"),
        ([(1, "Which?", "", "", "", "", "", "A", "", encoded(1))], "row 0: there is not two options"),
        ([(1, "", "", "x", "y", "", "", "A", "", encoded(1))], "row 0: there is not a question"),
    ],
)
def test_rows_that_are_no_questions_are_told_in_one_line(tmp_path, rows, says):
    with pytest.raises(UsageError, match=says) as caught:
        registry().source(f"mmbench:{write(tmp_path / 'm.tsv', rows)}")
    assert "\n" not in str(caught.value)


def test_other_files_are_told_in_one_line(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b.json").write_text("[1]")
    (tmp_path / "SEED-Bench-image").mkdir()
    for spec, says in {
        "mmbench:a.txt": "is no benchmark's file",
        "mmbench:none.tsv": "no file",
        "seedbench:b.json": "is not the JSON of SEED-Bench",
        "seedbench:b.json?images=nowhere": "there is no folder nowhere of the pictures",
        "mmbench:a.txt?circle=true": "did you mean 'circular'",
    }.items():
        scheme, _, where = spec.partition(":")
        name, _, options = where.partition("?")
        with pytest.raises(Ssl4rlError, match=says) as caught:
            registry().source(f"{scheme}:{tmp_path / name}" + (f"?{options}" if options else ""))
        assert "\n" not in str(caught.value)


def test_photographs_and_digits_come_as_questions_too():
    digits, photos = registry().source("embedded:digits"), registry().source("embedded:photos")
    entries = digits.index("question")
    items = [digits.load("question", entries[position]) for position in range(40)]
    # The first digits of the set are 0 to 9, in order.
    told = [item.options[item.answer] for item in items[:10] if isinstance(item, QuestionItem)]
    assert told == [str(digit) for digit in range(10)]
    assert all(isinstance(item, QuestionItem) and len(set(item.options)) == 4 for item in items)
    assert {item.answer for item in items if isinstance(item, QuestionItem)} == {0, 1, 2, 3}
    cat = next(item for item in questions(photos) if item.id == "chelsea")
    assert cat.options[cat.answer] == "a cat"
    with pytest.raises(UsageError, match="no items of kind 'question'"):
        registry().source("embedded:faces").index("question")
