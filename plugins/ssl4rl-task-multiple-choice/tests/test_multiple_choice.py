"""Multiple choice: asked as the benchmark is, right by its letter however the options are turned, never a reward."""

import numpy as np
import pytest
from ssl4rl_task_multiple_choice import MultipleChoice, PaperChoice

from ssl4rl_core import QuestionItem, Sample, Skip, Splitter, parse_config, registry, render
from ssl4rl_core.samples import Split
from ssl4rl_core.testing import conformance
from ssl4rl_core.testing.memory import synthetic_picture, synthetic_source

test_conformance = conformance(MultipleChoice)

OPTIONS = ("a {cat}", "a <image>", "dogs")


def asked(level: str, hint: str = "", options: tuple[str, ...] = OPTIONS, variant: int = 0) -> Sample:
    item = QuestionItem("q", "q", 0, synthetic_picture(0), "What is it?", options, 1, hint)
    split: Split = "test"
    view = synthetic_source().view("question", split, Splitter(1.0))
    return render(parse_config(f"multiple-choice:{level}", registry()), item, view, variant=variant)


def test_it_is_asked_in_the_form_of_mmbench():
    sample = asked("published", hint="It purrs.")
    assert [part["type"] for part in sample.record.content()] == ["image", "text"]
    assert sample.record.content()[1]["text"] == (
        "\nHint: It purrs.\nQuestion: What is it?\nOptions:\nA. a {cat}\nB. a <image>\nC. dogs\n"
        "Please select the correct answer from the options above."
    )
    assert "Hint" not in asked("published").record.question
    assert sample.record.answer_text == "B" and sample.record.chance == pytest.approx(1 / 3)


def test_turned_options_keep_their_order_and_the_right_one():
    seen = set()
    for variant in range(60):
        sample = asked("turned", variant=variant)
        lines = sample.record.question.split("Options:\n")[1].splitlines()[:3]
        letters, options = zip(*(line.split(". ", 1) for line in lines), strict=True)
        first = OPTIONS.index(options[0])
        assert letters == ("A", "B", "C") and options == OPTIONS[first:] + OPTIONS[:first]
        assert dict(zip(letters, options, strict=True))[sample.record.answer_text] == OPTIONS[1]
        seen.add(sample.record.answer_text)
    assert seen == {"A", "B", "C"}


def test_questions_that_letters_cannot_name_are_skipped():
    for options in (("one",), tuple(map(str, np.arange(27)))):
        with pytest.raises(Skip, match="fewer options than two or more than letters"):
            item = QuestionItem("q", "q", 0, synthetic_picture(0), "?", options, 0)
            view = synthetic_source().view("question", "test", Splitter(1.0))
            MultipleChoice().transform(item, MultipleChoice.levels["published"], np.random.default_rng(0), view)


def test_the_papers_format_asks_in_its_words_and_is_read_strictly():
    paper = registry().format("paper_choice")
    assert isinstance(paper, PaperChoice) and paper.instruction("one of A, B").endswith("LETTER is one of A, B.")
    assert paper.extract("<think>It purrs.</think> <answer>B</answer>") == "B"
    assert paper.extract("B") is None
