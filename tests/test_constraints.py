"""``constraints.txt`` pins what ``pyproject.toml`` asks for, and can be used anywhere."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[1]


def pins() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pair) == 2 for pair in pairs)
    return {canonicalize_name(name): version for name, version in pairs}


def test_every_requirement_is_pinned_within_its_range() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    wanted = [item for item in map(Requirement, lines) if item.name != "drupe"]
    assert wanted
    pinned = pins()
    assert [
        str(item)
        for item in wanted
        if not item.specifier.contains(pinned.get(canonicalize_name(item.name), "0"))
    ] == []


def needed(name: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """Return the installed packages that ``name`` with ``extras`` needs here, itself included."""
    found: set[str] = set()
    waiting = [(canonicalize_name(name), extras)]
    seen = set()
    while waiting:
        item = waiting.pop()
        if item in seen:
            continue
        seen.add(item)
        package, wanted = item
        try:
            lines = requires(package) or ()
        except PackageNotFoundError:  # an extra that this environment was made without
            continue
        found.add(package)
        for line in map(Requirement, lines):
            environments = [{"extra": extra} for extra in (wanted or {""})]
            if line.marker is None or any(map(line.marker.evaluate, environments)):
                waiting.append((canonicalize_name(line.name), frozenset(line.extras)))
    return found


def test_the_suite_runs_with_what_is_pinned() -> None:
    pinned = pins()
    platform = re.compile(r"nvidia-|cuda-|triton$|pip$|drupe$")
    packages = [name for name in needed("drupe", frozenset({"dev"})) if not platform.match(name)]
    assert len(packages) > 100, "drupe[dev] is what the suite runs in"
    installed = {name: version(name).partition("+")[0] for name in packages}
    assert {name: pinned.get(name) for name in installed} == installed


def test_the_hashes_are_of_the_same_versions() -> None:
    lines = (REPOSITORY / "constraints-hashed.txt").read_text(encoding="utf-8")
    entries = re.findall(
        r"^([A-Za-z0-9._-]+)==(\S+)[^\\\n]*\\\n((?:    --hash=.*\n?)+)", lines, re.M
    )
    hashed = {canonicalize_name(name): number for name, number, _ in entries}
    assert {name: hashed.get(name) for name in pins()} == pins()
    more = re.compile(r"nvidia-|cuda-|triton$|appnope|colorama|pip$|httpx2-jsfetch")
    assert [name for name in hashed if name not in pins() and not more.match(name)] == []
    for name, _, hashes in entries:
        assert re.fullmatch(r"(    --hash=sha256:[0-9a-f]{64}( \\)?\n?)+", hashes), name
    assert lines.count("==") - lines.count("== '") == len(entries), "every line was understood"
    assert "://" not in lines
    assert "index" not in lines


def test_no_index_and_no_platform_is_named() -> None:
    text = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert "--" not in re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
    assert not [name for name in pins() if re.match(r"nvidia-|cuda-|triton$", name)]
