"""Names from outside, made harmless where they are shown: terminals, Markdown, spreadsheets.

A file, class or study may be called anything: a control sequence that clears the screen, a newline
that forges a line, a sign that turns the order of what follows, a formula. What is written to be
read again (JSON, tables of predictions) keeps every name as it is.
"""

from __future__ import annotations

import re
import unicodedata

_OBEYED = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Unicode's categories of what isn't shown but obeyed, or can't be written at all."""
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def printable(text: str) -> str:
    r"""Return ``text`` in one line of characters that are shown: ``\x1b[2J`` for one that isn't.

    Bytes of a file's name that are no UTF-8 (Python keeps them as surrogates) become ``\xNN``.
    """
    if text.isprintable():
        return text
    return "".join(_shown(one) if unicodedata.category(one) in _OBEYED else one for one in text)


def _shown(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        number -= 0xDC00
    if character in _SHORT:
        return _SHORT[character]
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def printable_json(text: str) -> str:
    """Return a JSON document's text with such characters escaped as JSON does: it says the same.

    They can only stand inside strings; line feeds between values stay.
    """
    if text.replace("\n", "").isprintable():
        return text
    return "".join(
        _json_escape(one) if one != "\n" and unicodedata.category(one) in _OBEYED else one
        for one in text
    )


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def spreadsheet_cell(text: str) -> str:
    """Return ``text`` so that a spreadsheet takes it for text, not for a formula: with a ``'``.

    :func:`from_spreadsheet_cell` gives it back.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def from_spreadsheet_cell(cell: str) -> str:
    """Return the text that :func:`spreadsheet_cell` made ``cell`` of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
