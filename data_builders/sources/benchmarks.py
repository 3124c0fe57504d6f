"""`mmbench:FILE`, `seedbench:FILE`: multiple-choice questions about pictures, as their benchmarks publish them."""

import hashlib
import string
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Self

from data_builders.sources.benchmark_rows import BenchmarkOptions, Pictures, Texts, read_rows
from data_builders.sources.files import escaped, expanded
from data_builders.sources.flat_index import FlatIndex
from ssl4rl_core.answers import canonical_json
from ssl4rl_core.errors import UsageError
from ssl4rl_core.samples import QuestionItem
from ssl4rl_core.sources import Entry, Source

_TURNED = 1_000_000
"""MMBench's files hold every question once for each turn of its options, numbered so much higher each time."""
_LETTERS = string.ascii_uppercase


@dataclass(frozen=True)
class _Question:
    id: str
    row: int
    question: str
    options: tuple[str, ...]
    answer: int
    hint: str
    category: str


class Benchmark(Source):
    """Questions with options, all of them held out. Subclasses say how the benchmark counts."""

    kinds = ("question",)
    usually_circular: ClassVar[bool]
    in_turns: ClassVar[bool]
    """Whether its files may hold a question in all turns of its options, told by the index."""

    def __init__(
        self, name: str, questions: Sequence[_Question], pictures: Pictures, *, circular: bool, license: str = ""
    ) -> None:
        self.name, self.license, self.circular = name, license, circular
        self._questions, self._pictures = questions, pictures

    @classmethod
    def open(cls, where: str, **options: str) -> Self:
        chosen = BenchmarkOptions.read(cls.scheme, options)
        rows = read_rows(cls.scheme, where, chosen, cls.example)
        # A dataset of the Hub keeps its whole name, a file or folder of this machine its last part.
        on_hub = where.startswith("hf:") and not Path(expanded(where.removeprefix("hf:"))).is_dir()
        name = where if on_hub else Path(where).name
        questions = _questions(f"{cls.scheme}:{where}", rows.texts, in_turns=cls.in_turns)
        return cls(
            f"{cls.scheme}:{escaped(name)}{chosen.choice()}",
            questions,
            rows.pictures,
            circular=cls.usually_circular if chosen.circular is None else chosen.circular,
            license=chosen.license,
        )

    def index(self, kind: str) -> FlatIndex:
        self.check_kind(kind)
        return FlatIndex(len(self._questions), self._entry)

    def _entry(self, position: int) -> Entry:
        asked = self._questions[position]
        return Entry(position, asked.id, self._pictures.group(asked.row), "test")

    def load(self, kind: str, entry: Entry, *, max_side: int | None = None) -> QuestionItem:
        asked = self._questions[entry.position]
        image = self._pictures.picture(asked.row, max_side).image
        about = (asked.question, asked.options, asked.answer, asked.hint, asked.category)
        return QuestionItem(entry.id, entry.group, entry.position, image, *about)

    def fingerprint(self) -> str:
        texts = canonical_json([asdict(question) for question in self._questions])
        return hashlib.sha256(f"{self._pictures.fingerprint()}\0{texts}".encode("utf-8", "surrogateescape")).hexdigest()


class MMBench(Benchmark):
    """The questions of MMBench (arXiv 2307.06281) and of every benchmark in the form of its files.

    A tab-separated file as VLMEvalKit fetches it, parquet, or `hf:user/name` for a dataset of the Hub, with columns
    `index`, `question`, `hint`, `A`, `B`, ..., `answer`, `category` and `image`. Where a file holds a question in all
    turns of its options, as MMBench's do, it is one item. A question counts as right only if it is so in every turn.

    Options: `column=image` names the column of pictures; `circular=false` counts a question once, as published;
    `config=en`, `split=dev` and `revision=COMMIT` choose from the Hub; `license=CC0-1.0` is recorded in what is built.
    """

    scheme = "mmbench"
    example = "mmbench:MMBench_DEV_EN.tsv"
    usually_circular = True
    in_turns = True


class SeedBench(Benchmark):
    """The questions about pictures of SEED-Bench (arXiv 2307.16125), each asked once, as published.

    Its own `SEED-Bench.json` with the folder `SEED-Bench-image` beside it, or all that `mmbench:` reads, such as
    VLMEvalKit's `SEEDBench_IMG.tsv`, which the paper's figures are of.

    Options: those of `mmbench:`; `images=DIR` names the folder of pictures.
    """

    scheme = "seedbench"
    example = "seedbench:SEEDBench_IMG.tsv"
    usually_circular = False
    in_turns = False


def _questions(where: str, texts: Sequence[Texts], *, in_turns: bool) -> list[_Question]:
    """The questions of the rows, in order; of the turns of one question, that with the lowest number.

    Raises:
        UsageError: the rows are no questions, two have one index, or their answers are not published.
    """
    if not texts:
        raise UsageError(f"{where} has no questions")
    rows: dict[tuple[str, int], int] = {}
    for row, cells in enumerate(texts):
        id, turn = _cell(cells, "index", "question_id") or str(row), 0
        if in_turns and id.isdecimal():
            turn, number = divmod(int(id), _TURNED)
            id = str(number)
        if (before := rows.setdefault((id, turn), row)) != row:
            shown = f"{id[:40]!r}" + (f" in turn {turn}" if turn else "")
            raise UsageError(f"{where}: rows {before} and {row} both have the index {shown}: open files one by one")
    first = {id: rows[id, turn] for id, turn in sorted(rows, key=lambda kept: kept[1], reverse=True)}
    return [_question(where, id, row, texts[row]) for id, row in sorted(first.items(), key=lambda kept: kept[1])]


def _question(where: str, id: str, row: int, cells: Texts) -> _Question:
    options = []
    for letter in _LETTERS:
        option = _cell(cells, letter, f"choice_{letter.lower()}")
        if not option:
            break
        options.append(option)
    question, answer = _cell(cells, "question"), _cell(cells, "answer").upper()
    if not question or len(options) < 2:
        missing = "a question" if not question else "two options, A and B or choice_a and choice_b"
        raise UsageError(f"{where}, row {row}: there is not {missing}; columns: {', '.join(map(str, cells))[:200]}")
    if len(answer) != 1 or answer not in _LETTERS[: len(options)]:
        told = f"the answer is {answer[:20]!r}" if answer else "the answer is not published"
        raise UsageError(f"{where}, row {row}: {told}, not the letter of an option: take a split with answers, as dev")
    return _Question(
        id, row, question, tuple(options), _LETTERS.index(answer), _cell(cells, "hint"), _cell(cells, "category")
    )


def _cell(cells: Texts, *names: str) -> str:
    """The first of these cells that says something; pandas writes "nan" for nothing where a column became text."""
    for name in names:
        text = "" if cells.get(name) is None else str(cells[name]).strip()
        if text and text != "nan":
            return text
    return ""
