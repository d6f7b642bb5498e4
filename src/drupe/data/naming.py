"""How names tell what an item is: clean, a defect of some type, and the group it comes from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from drupe.errors import InputError, shortened, suggest

GOOD = "good"
"""What several clean classes are called together."""

DEFECT = "defect"
"""What the types of defects are called together."""

SHOWN = 10
"""Names shown in a message before it only counts."""

GROUP_EXAMPLE = r"'camera-(\w+)'"


@dataclass(frozen=True)
class Naming:
    r"""How the names of classes and paths are to be read.

    defect: the defect class of two; None: found by its name. good: the clean classes, where there
    may be any number of others, each of them a type of defect; defects: those others, where they
    are listed. group: a regular expression with one capture group, searched for in each item's
    path: what it captures is the group that the item comes from, such as ``camera-(\w+)``.
    is_complete: every class that is named must be there, and every path name its group; else one
    clean class is enough.

    Raises :class:`InputError` with everything that can't be meant.
    """

    defect: str | None = None
    good: tuple[str, ...] = ()
    defects: tuple[str, ...] = ()
    group: str | None = None
    is_complete: bool = True

    def __post_init__(self) -> None:
        problems = [
            f"classes: must name each class once, got {name} {count} times"
            for name, count in Counter((*self.good, *self.defects)).items()
            if count > 1
        ]
        if self.defects and not self.good:
            problems.append("classes: must name the clean classes, got defects alone")
        if self.good and self.defect is not None:
            problems.append(
                f"defect class: can't be named ({self.defect}) where the clean classes are "
                f"({', '.join(self.good)}): every other class is a defect"
            )
        if self.good == (DEFECT,):
            problems.append(f"good: must not be called {DEFECT}, as all defects are together")
        problems += _pattern_problems(self.group)
        if problems:
            raise InputError(problems)

    @classmethod
    def of(cls, naming: Naming | str | None) -> Naming:
        """Return ``naming``, where a mere name is that of the defect class."""
        return naming if isinstance(naming, Naming) else cls(defect=naming)

    @property
    def has_types(self) -> bool:
        """Return whether defects have types: the names of their classes."""
        return bool(self.good)

    @property
    def classes(self) -> tuple[str, str]:
        """(clean, defect): what the two sides are called where defects have types."""
        return (self.good[0] if len(self.good) == 1 else GOOD, DEFECT)

    def of_new_items(self) -> Naming:
        """Return the naming for items collected later: any of the classes may be missing."""
        return Naming(self.defect, self.good, (), self.group, is_complete=False)

    def problems(self, found: Sequence[str], where: str) -> list[str]:
        """Say which of the class names ``found`` in ``where`` don't fit, where defects have types.

        Only then is there anything to say.
        """
        if not self.has_types:
            return []
        wanted = (*self.good, *self.defects)
        missing = [name for name in wanted if name not in found]
        others = [name for name in found if name not in self.good]
        unknown = [name for name in others if self.defects and name not in self.defects]
        problems = []
        if missing and (self.is_complete or not set(found) & set(self.good)):
            problems += [
                f"{where}: must hold the class {name}, got none of that name{suggest(name, found)}"
                for name in missing
            ]
        if not others:
            problems.append(
                f"{where}: must hold classes of defects beside {', '.join(self.good)}, got none"
            )
        if unknown:
            problems.append(
                f"{where}: classes must be those that data.classes names, got "
                f"{', '.join(shortened(unknown, SHOWN))}"
            )
        if len(self.good) > 1 and GOOD in others:
            problems.append(
                f"{where}: no class of defects may be called {GOOD}, as "
                f"{', '.join(self.good)} are together"
            )
        return problems

    def type_of(self, name: str) -> str:
        """Return the type of defect that the class ``name`` stands for, '' for a clean one."""
        return "" if name in self.good else name

    def groups_of(self, paths: Sequence[str], where: str) -> tuple[str, ...] | None:
        """Return the group that each path names; None where no pattern is given.

        Of items collected later, '' where a path names none; None where no path does.

        Raises :class:`InputError` with the paths that name none.
        """
        if self.group is None:
            return None
        pattern = re.compile(self.group)
        found = [pattern.search(path) for path in paths]
        groups = tuple((match.group(1) or "") if match else "" for match in found)
        if not self.is_complete:
            return groups if any(groups) else None
        without = [f"  {path}" for path, group in zip(paths, groups, strict=True) if not group]
        if without:
            raise InputError(
                [
                    f"{where}: every path must name its group by {self.group!r}, "
                    f"got {len(without):,} of {len(paths):,} that don't:",
                    *shortened(without, SHOWN),
                ]
            )
        return groups


def _pattern_problems(pattern: str | None) -> list[str]:
    if pattern is None:
        return []
    must = f"group: must be a regular expression with one capture group such as {GROUP_EXAMPLE}"
    try:
        count = re.compile(pattern).groups
    except re.error as error:
        return [f"{must}, got {pattern!r} ({error})"]
    return [] if count == 1 else [f"{must}, got {pattern!r} with {count}"]
