"""Ready experiments that a person picks by need: how long a decision may take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drupe.errors import InputError

NAMES = ("fast", "balanced", "best")
_PACKAGED = Path(__file__).parents[1] / "presets"
_IN_REPOSITORY = Path(__file__).parents[3] / "examples"


@dataclass(frozen=True)
class Preset:
    """An experiment file that comes with Drupe; ``purpose`` is the first line of its header."""

    name: str
    path: Path

    @property
    def purpose(self) -> str:
        """The need that it serves, in a line."""
        return self.path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def presets() -> tuple[Preset, ...]:
    """Return the presets, the fastest first: from the package, or from the repository's examples.

    An installed package has a copy of its own; one that is installed in place has not.
    """
    folder = _PACKAGED if _PACKAGED.is_dir() else _IN_REPOSITORY
    return tuple(Preset(name, folder / f"{name}.yaml") for name in NAMES)


def experiment_file(given: Path | None, command: str = "train") -> Path:
    """Return the file of an experiment that is given by its path or by the name of a preset.

    A file of that name comes first. ``command`` is what the message offers them to.

    Raises:
        InputError: nothing is given; the message offers the presets.
    """
    if given is None:
        offered = [f"{preset.name}: {preset.purpose}" for preset in presets()]
        raise InputError(
            [
                "EXPERIMENT: required: an experiment file, or one of these by name:",
                *(f"  {line}" for line in offered),
                f"for example: drupe {command} balanced --data crops",
            ]
        )
    by_name = {preset.name: preset.path for preset in presets()}
    return given if given.exists() else by_name.get(str(given), given)
