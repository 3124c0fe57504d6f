"""What a text says, whatever sets it off: blanks, quotes, brackets, Markdown, LaTeX, typographic marks.

Only marks are read past, never words: two answers stay two, and digits and letters of other scripts that look like
those of an answer stay what they are. All of it takes time in proportion to the length of the text.
"""

import re
import unicodedata

_MARKS = {
    **dict.fromkeys(map(ord, "*`${}"), " "),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u00ab\u00bb"), '"'),
    **dict.fromkeys(map(ord, "\u2018\u2019"), "'"),
}
# \( \) \[ \] and spaces of a formula, and the commands that change its type or draw a box.
_LATEX = re.compile(r"\\(?:[()\[\],;:! ]|(?:boxed|text(?:bf|it|rm|tt)?|math(?:bf|it|rm|tt))(?![A-Za-z]))")
_FENCE = re.compile(r"```(?:text|txt|plaintext|markdown|json|latex)?[ \t]*\n")
# A full stop before a digit would be a decimal point: it closes an answer and opens none.
_OPENING = " \t\r\n\"'([_"
_CLOSING = " \t\r\n\"')]_.,:;!"


def bare(text: str) -> str:
    """The text without what only sets it off: `\\boxed{90}.`, `**90**` and `"90"` are all `90`."""
    if text.startswith("```"):
        text = _FENCE.sub("", text, count=1)
    if "\\" in text:
        text = _LATEX.sub(" ", text)
    if not text.isascii():
        # Tokenizers compose letters and accents, so a model cannot always repeat them as a source spells them.
        text = unicodedata.normalize("NFC", text)
    return text.translate(_MARKS).lstrip(_OPENING).rstrip(_CLOSING)


def plain(text: str) -> str:
    """The bare text without case, and with hyphens, underscores and any run of blanks read as one blank."""
    return " ".join(bare(text).casefold().replace("-", " ").replace("_", " ").split())
