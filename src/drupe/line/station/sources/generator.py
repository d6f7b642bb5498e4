"""A generator of the integrator's own: whatever grabs images, in a function that yields them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from threading import Event
from typing import Any

from drupe.errors import InputError
from drupe.line.station.configuration import GeneratorSettings
from drupe.line.station.sources.source import LineItem, Unremembered


class GeneratorSource(Unremembered):
    """Calls ``module:function``; modules of the working folder are found.

    It yields images (arrays or paths), or pairs of a name and an image; None, alone or in a pair,
    is a frame that failed. ``started`` makes the names of nameless ones this start's own.
    """

    def __init__(self, settings: GeneratorSettings, started: str) -> None:
        self._make = _find(settings.function)
        self.name = f"generator {settings.function}"
        self.waits, self.order = settings.waits, settings.order
        self.silent_after_s = settings.silent_after_s
        self._names = f"item-{started}-"

    def probe(self) -> str:
        """It was found; calling it would take items from the line."""
        return "was found; not called"

    def items(self, stop: Event) -> Iterator[LineItem | None]:
        """Yield what the generator does, until it ends."""
        for number, given in enumerate(self._make(), 1):
            name, image = (
                given if isinstance(given, tuple) else (f"{self._names}{number:08}", given)
            )
            yield LineItem(str(name), image, "the source gave no image" if image is None else None)
            if stop.is_set():
                return


def _find(name: str) -> Callable[[], Any]:
    module, _, function = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:  # something that the module itself needs
            raise InputError(f"source.generator.function: {module} needs {error.name}") from None
        raise InputError(
            f"source.generator.function: must name a module in {here} or installed, got {module!r}"
        ) from None
    except AttributeError:
        raise InputError(
            f"source.generator.function: must name a function of {module}, got {function!r}"
        ) from None
    if not callable(found):
        raise InputError(f"source.generator.function: must be a function, got {found!r}")
    return found  # type: ignore[no-any-return]
