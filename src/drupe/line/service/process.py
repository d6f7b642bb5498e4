"""The service as a process: everything opened, served until it is told to stop, and closed."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from drupe.deployment.backends import default_threads
from drupe.errors import InputError
from drupe.line.service.application import Limits, service_application
from drupe.line.service.desk import Desk
from drupe.line.service.guard import Tokens
from drupe.line.service.server import web_server
from drupe.line.service.state import StateFile
from drupe.line.service.succession import Succession, open_bundle
from drupe.notices import notice
from drupe.web import own_hosts

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
ADMIN = "admin"


@dataclass(frozen=True)
class ServiceSettings:
    """What a service is started with; ``bundles`` by the name that each is served under.

    ``workers``: threads that decide, of each bundle; None: one for each core. ``places``: requests
    of a bundle that may be here at once. ``backend``, ``precision``: as of :func:`drupe.load`.
    """

    bundles: Mapping[str, Path]
    limits: Limits
    tokens: Tokens
    workers: int | None = None
    places: int = 64
    log: Path | None = None
    log_key: Path | None = None
    monitor: Path | None = None
    capture: Path | None = None
    state: Path | None = None
    backend: str | None = None
    precision: str | None = None
    uncertified: bool = False


class Service(NamedTuple):
    """What is open: every bundle's desk, and who changes its bundle, by name."""

    desks: dict[str, Desk]
    successions: dict[str, Succession]

    def to_json(self) -> list[dict[str, Any]]:
        """Return what is in force, for a script."""
        return [one.status() for one in self.successions.values()]


def named_bundles(words: list[str]) -> dict[str, Path]:
    """Return the bundles that ``BUNDLE`` or ``NAME=BUNDLE`` say, by name.

    Raises:
        InputError: a name that can't be part of an address, or that two bundles have.
    """
    found: dict[str, Path] = {}
    problems = []
    for word in words:
        before, is_named, after = word.partition("=")
        path = Path(after if is_named else word)
        name = before if is_named else path.resolve().name.removesuffix(".bundle").lower()
        if not NAME.fullmatch(name) or name == ADMIN:
            problems.append(
                f"{word}: the name must be 1 to 40 of a-z, 0-9, - and _, and not admin, got "
                f"{name!r}: name it, as in cherries={path}"
            )
        elif name in found:
            problems.append(f"{word}: two bundles are called {name}: name them, NAME=BUNDLE")
        found[name] = path
    if problems:
        raise InputError(problems)
    return found


@contextmanager
def opened(settings: ServiceSettings) -> Iterator[Service]:
    """Open every bundle with its log and monitor; closed when it is left.

    Raises:
        InputError: a bundle, log or state that can't be taken; nothing is left open.
    """
    workers = settings.workers or default_threads()
    opened_one = partial(
        open_bundle,
        workers=workers,
        uncertified=settings.uncertified,
        backend=settings.backend,
        precision=settings.precision,
    )
    state = StateFile(settings.state)
    desks: dict[str, Desk] = {}
    successions: dict[str, Succession] = {}
    with ExitStack() as stack:
        for name, bundle in settings.bundles.items():
            given = bundle.resolve()
            now = state.of(name, given)
            path = Path(now.bundle) if now else given
            classifier = opened_one(path)
            if now and now.digest != classifier.digest:
                raise InputError(
                    f"{settings.state}: {name}: {path} must be the bundle that was switched to "
                    f"({now.digest[:12]}…), got {classifier.digest[:12]}…: put it back, or delete "
                    "the state"
                )
            desk = Desk(
                name,
                classifier,
                workers=workers,
                places=settings.places,
                log=settings.log and settings.log / name,
                log_key=settings.log_key,
                states=settings.monitor,
                pictures=settings.capture and settings.capture / name,
                on_alarm=partial(_alarm, name),
            )
            stack.callback(desk.close)
            desks[name] = desk
            successions[name] = Succession(desk, given, state, opened_one)
        yield Service(desks, successions)


def _alarm(name: str, kind: str, what: str) -> None:
    notice(f"alarm: {name}: {kind}: {what}")


def serve(service: Service, settings: ServiceSettings, listener: socket.socket) -> None:
    """ImageAnswer until SIGTERM or Ctrl-C; requests that have begun are answered first."""
    port = listener.getsockname()[1]
    hosts = () if settings.tokens.decide else own_hosts(port)
    application = service_application(
        service.desks, service.successions, settings.limits, settings.tokens, hosts
    )
    web_server(application, settings.limits.seconds).run(sockets=[listener])
