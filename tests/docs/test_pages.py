"""The reader of code blocks, and what pages and shipped files name: commands, options, files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import drupe
from page_blocks import (
    FENCE,
    PAGES,
    REPOSITORY,
    Command,
    all_blocks,
    commands,
    drupe_words,
    mistake_in,
    read_blocks,
)

FENCED = """\
Text with `code`.

```sh
drupe doctor  # looks
```

1. In a list:

   ```console
   $ RUN=x
   $ drupe threshold $RUN
   not certified

   too few
   ```
"""
SHIPPED = sorted(
    path.relative_to(REPOSITORY)
    for folder in ("examples", "studies")
    for path in (REPOSITORY / folder).rglob("*.yaml")
)
EXAMPLES_OF_PATHS = {"src/drupe/PACKAGE/MODULE.py", "tests/PACKAGE/test_MODULE.py"}
FOLDERS = "src tests docs studies examples benchmarks notebooks"


def test_every_fence_of_the_pages_is_read() -> None:
    fences = [
        line
        for path in PAGES.values()
        for line in path.read_text(encoding="utf-8").splitlines()
        if FENCE.match(line)
    ]
    assert len(fences) == 2 * len(all_blocks()) > 100


def test_blocks_are_read_with_language_line_and_commands() -> None:
    first, second = read_blocks("page.md", FENCED)
    assert (first.language, first.line, first.key) == (
        "sh",
        3,
        ("page.md", "drupe doctor  # looks"),
    )
    assert commands(first) == [Command("drupe doctor  # looks")]
    assert str(second) == "page.md:9"
    assert commands(second) == [
        Command("RUN=x", ""),
        Command("drupe threshold $RUN", "not certified\n\ntoo few"),
    ]


def test_a_block_without_an_end_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"page.md:1: the block must end with ```"):
        read_blocks("page.md", "```sh\ndrupe doctor\n")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("drupe data audit crops  # looks", ["data", "audit", "crops"]),
        (".venv/bin/drupe doctor", ["doctor"]),
        ("torchrun --nproc-per-node 2 -m drupe train x.yaml", ["train", "x.yaml"]),
        ("find x | drupe predict b - | next", ["predict", "b", "-"]),
    ],
)
def test_the_words_of_a_command_are_found(line: str, words: list[str]) -> None:
    assert list(drupe_words(line)) == [words]


@pytest.mark.parametrize(
    ("words", "mistake"),
    [
        (["data", "audit", "DIR", "--fix-list"], None),
        (["threshold", "--cross-fit=5", "-h"], None),
        (["data", "adit"], "no command 'adit' among"),
        (["train", "x.yaml", "--dta", "crops"], "no option '--dta' among"),
    ],
)
def test_a_command_that_there_is_not_is_found(words: list[str], mistake: str | None) -> None:
    found = mistake_in(words)
    assert found == mistake or (mistake and found and found.startswith(mistake))


def lines_with_commands() -> Iterator[tuple[str, str]]:
    """Yield every command line of pages, in blocks and in sentences, and of shipped files."""
    for block in all_blocks():
        if block.language in ("sh", "console"):
            yield from ((str(block), command.text) for command in commands(block))
    for page, path in PAGES.items():
        prose = re.sub(r"^( *)```.*?^\1```$", "", path.read_text("utf-8"), flags=re.M | re.S)
        spans = (span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", prose))
        yield from ((page, span) for span in spans if span.startswith("drupe "))
    for name in SHIPPED:
        for line in header(name):
            if line.lstrip().startswith("drupe "):
                yield str(name), re.split(r"   +", line.strip())[0]


def test_every_command_and_option_that_is_named_exists() -> None:
    wrong = [
        f"{place}: {line}: {mistake}"
        for place, line in lines_with_commands()
        for words in drupe_words(line)
        if words[:1] != ["WORDS…"] and (mistake := mistake_in(words))
    ]
    assert len(list(lines_with_commands())) > 100
    assert wrong == []


def header(name: Path) -> list[str]:
    """Return the comment at a file's beginning, without its #."""
    lines = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
    last = next(place for place, line in enumerate(lines) if not line.startswith("#"))
    return [line.removeprefix("#") for line in lines[:last]]


@pytest.mark.parametrize("name", SHIPPED, ids=str)
def test_a_shipped_file_opens_with_its_command_time_and_score(name: Path) -> None:
    text = " ".join(" ".join(header(name)).split())
    study = name.parent if name.parent.name == "phase2" else name
    command = rf"drupe (train|study run) {re.escape(str(study))} .*--data DIR"
    if name.stem.startswith("line"):  # decides, and learns from no data
        command = rf"drupe run {re.escape(str(name))}"
    assert re.search(command, text), text
    assert re.search(r"\bTime: \S", text), text
    assert re.search(r"\bScore to expect: \S", text), text


def test_every_file_that_a_page_names_is_there() -> None:
    named = {
        (page, name)
        for page, path in PAGES.items()
        for name in re.findall(
            rf"(?<![\w./-])((?:{FOLDERS.replace(' ', '|')})/[\w./-]*\w)",
            path.read_text(encoding="utf-8"),
        )
    }
    gone = [
        f"{page}: {name}"
        for page, name in sorted(named)
        if name not in EXAMPLES_OF_PATHS and not (REPOSITORY / name).exists()
    ]
    assert len(named) > 40
    assert gone == []


def test_the_python_reference_names_all_that_the_package_names() -> None:
    page = (REPOSITORY / "docs/api.md").read_text(encoding="utf-8")
    named = re.findall(r"^::: (\S+)\n    options:\n      heading: drupe\.(\S+)$", page, re.M)
    assert {name for _, name in named} == set(drupe.__all__) - {"__version__"}
    for path, name in named:
        module, _, own = path.rpartition(".")
        assert getattr(import_module(module), own) is getattr(drupe, name)
