"""The answer is read where the format says, once, or not at all."""

import time

import pytest

from ssl4rl_core import registry

THINK, ONLY, BOXED = (registry().format(name) for name in ("think_answer", "answer_only", "boxed"))


@pytest.mark.parametrize("response_format", [THINK, ONLY, BOXED], ids=lambda f: f.name)
def test_a_format_reads_back_what_it_wraps(response_format):
    assert response_format.extract(response_format.wrap("90", thinking="it leans")) == "90"
    assert "one of 0, 90" in response_format.instruction("one of 0, 90")


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "90",
        "<answer>90</answer>",
        "<think>a</think>",
        "<think>a</think><answer>90",
        "<think>a</think>90</answer>",
        "a</think><answer>90</answer>",
        "x<think>a</think><answer>90</answer>",
        "<think>a</think><answer>90</answer>x",
        "<think>a</think>x<answer>90</answer>",
        "<think>a</think><answer>0</answer><answer>90</answer>",
        "<think>a</think><answer><answer>90</answer></answer>",
        "<think>a</think><answer>0<answer>90</answer>",
        "<think><answer>0</answer></think><answer>90</answer>",
        "<think>a<think>b</think><answer>90</answer>",
        "<think>a</think><think>b</think><answer>90</answer>",
        "<think>a</think><answer>90</think></answer>",
        "</think><think><answer>90</answer>",
        "<answer>90</answer><think>a</think>",
        "<answer>90</answer><think>a</think><answer>90</answer>",
        "<think>a</think>b</think><answer>90</answer>",
        "<think>a < b</think><answer><think>90</answer>",
        "<THINK>a</THINK><ANSWER>90</ANSWER>",
    ],
)
def test_think_answer_refuses_a_broken_format(completion):
    assert THINK.extract(completion) is None


@pytest.mark.parametrize(
    "completion", ["<think></think><answer>90</answer>", " <think>a\nb</think>\n\n<answer>90</answer>\n"]
)
def test_think_answer_allows_blanks_between_its_blocks(completion):
    assert THINK.extract(completion) == "90"


@pytest.mark.parametrize("completion", ["90", "x<answer>90</answer>", "<answer>90",
                                        "<answer>0</answer><answer>90</answer>",
                                        "<answer><answer>90</answer></answer>", "</answer>90<answer>"])  # fmt: skip
def test_answer_only_refuses_a_broken_format(completion):
    assert ONLY.extract(completion) is None


@pytest.mark.parametrize(
    "completion",
    ["\\boxed{9{0}", "\\boxed{{{{90}}}}", "\\boxed{0} so \\boxed{\\text{90}}", "\\boxed{90}{0}", "boxed{90}"],
)
def test_boxed_refuses_braces_that_do_not_close_it(completion):
    assert BOXED.extract(completion) is None


def test_boxed_reads_past_the_braces_of_an_answer():
    assert BOXED.extract("so $\\boxed{90^{\\circ}}$") == "90^{\\circ}"
    assert BOXED.extract("\\frac{1}{2} < 1, hence \\boxed{\\text{top-left}}.") == "\\text{top-left}"


def test_thinking_may_hold_comparisons_and_words_of_the_tags():
    thinking = "if a < b, rethink> and the answer> is clear"
    assert THINK.extract(THINK.wrap("90", thinking)) == "90"


@pytest.mark.parametrize(
    "completion", ["90", "\\boxed{90", "\\boxed{0} or \\boxed{90}", "\\boxed{\\boxed{90}}", "\\boxed{90} or 0"]
)
def test_boxed_refuses_a_broken_format(completion):
    assert BOXED.extract(completion) is None


@pytest.mark.parametrize("completion", ["so \\boxed{90}", "so $\\boxed{90}$.", "\\[\\boxed{90}\\]"])
def test_boxed_allows_closing_punctuation(completion):
    assert BOXED.extract(completion) == "90"


@pytest.mark.parametrize("response_format", [THINK, ONLY, BOXED], ids=lambda f: f.name)
@pytest.mark.parametrize("unit", ["<think>", "</think>", "<answer>", "</answer>", "\\boxed{", "}", "a ", "<"])
def test_a_megabyte_of_anything_is_read_at_once(response_format, unit):
    completion = unit * (1_000_000 // len(unit))
    start = time.perf_counter()
    assert response_format.extract(completion) is None
    assert time.perf_counter() - start < 1.0
