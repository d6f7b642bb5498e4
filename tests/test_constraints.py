"""``constraints.txt`` pins what ``pyproject.toml`` asks for, and can be used anywhere."""

from __future__ import annotations

import re
import tomllib
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


def test_no_index_and_no_platform_is_named() -> None:
    text = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert "--" not in re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
    assert not [name for name in pins() if re.match(r"nvidia-|cuda-|triton$", name)]
