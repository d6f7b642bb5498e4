"""The code blocks of the documentation, as readers find them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import typer.main

from drupe.cli.app import app

REPOSITORY = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(REPOSITORY)): path
    for path in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))
}
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>.*)$")


@dataclass(frozen=True)
class Block:
    """A fenced block; ``line`` is that of its opening fence, counted from 1."""

    page: str
    line: int
    language: str
    text: str

    @property
    def key(self) -> tuple[str, str]:
        """The page and the block's first line: what a list of blocks can name."""
        return self.page, self.text.partition("\n")[0]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A line for a shell, and what the page shows of its output."""

    text: str
    shown: str = ""


def read_blocks(page: str, text: str) -> list[Block]:
    """Return the fenced blocks of a page; one that isn't closed is an error."""
    found = []
    lines = enumerate(text.splitlines(), start=1)
    for line, opening in lines:
        fence = FENCE.match(opening)
        if not fence:
            continue
        body: list[str] = []
        for _, inside in lines:
            if inside.rstrip() == fence["indent"] + "```":
                break
            body.append(inside)
        else:
            raise ValueError(f"{page}:{line}: the block must end with ```, got the page's end")
        found.append(Block(page, line, fence["language"].strip(), dedent("\n".join(body))))
    return found


def all_blocks() -> list[Block]:
    return [
        block
        for page, path in PAGES.items()
        for block in read_blocks(page, path.read_text(encoding="utf-8"))
    ]


def commands(block: Block) -> list[Command]:
    """Return the commands of a block: each line of ``sh``, each ``$ `` of ``console``."""
    if block.language == "sh":
        return [Command(line) for line in block.text.splitlines() if line.strip()]
    first, *parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert not first, f"{block}: a console block begins with `$ COMMAND`, got {first!r}"
    return [Command(*part.split("\n", 1)) for part in parts]


def drupe_words(line: str) -> Iterator[list[str]]:
    """Yield the words after ``drupe`` of each call of it in a line for a shell."""
    words = shlex.split(line, comments=True)
    for place, word in enumerate(words):
        if Path(word).name == "drupe" and (place == 0 or words[place - 1] in ("|", "-m")):
            rest = words[place + 1 :]
            yield rest[: rest.index("|")] if "|" in rest else rest


def mistake_in(words: list[str]) -> str | None:
    """Return what is wrong with the command and the options that ``drupe WORDS`` names, or None.

    An option's missing value is no mistake: prose names options without one.
    """
    command, rest = typer.main.get_command(app), list(words)
    while hasattr(command, "commands") and rest:
        name = rest.pop(0)
        if name.startswith("-"):
            break
        if name not in command.commands:
            return f"no command {name!r} among {', '.join(command.commands)}"
        command = command.commands[name]
    known = {option for parameter in command.params for option in parameter.opts}
    given = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
    unknown = sorted(given - known - {"--help", "-h"})
    return f"no option {unknown[0]!r} among {', '.join(sorted(known))}" if unknown else None
