from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from drupe.line.service.application import Limits, service_application
from drupe.line.service.guard import Tokens
from drupe.line.service.process import Service, ServiceSettings, opened
from service_files import brightness_bundle

ADMIN = {"Authorization": "Bearer admin-admin-admin"}


class Served:
    """A service in this process: its client, and what is behind it."""

    def __init__(self, service: Service, settings: ServiceSettings) -> None:
        self.service, self.settings = service, settings
        application = service_application(
            service.desks, service.successions, settings.limits, settings.tokens
        )
        self.client = TestClient(application, raise_server_exceptions=False)
        self.desk = next(iter(service.desks.values()))

    def decide(self, content: bytes, path: str = "/decide", **headers: str):
        named = {f"Drupe-{name.replace('_', '-')}": value for name, value in headers.items()}
        return self.client.post(path, content=content, headers=named)

    def change(self, what: str, **asked):
        return self.client.post(f"/admin/{self.desk.name}/{what}", json=asked, headers=ADMIN)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory) -> Path:
    """A folder of bundles: now, next (brighter images score higher), same, and odd ones."""
    folder = tmp_path_factory.mktemp("bundles")
    brightness_bundle(folder / "now.bundle")
    brightness_bundle(folder / "next.bundle", gain=1.5)
    brightness_bundle(folder / "same.bundle", gain=1.0001)
    brightness_bundle(folder / "turned.bundle", golden_off=0.5)
    brightness_bundle(folder / "others.bundle", classes=("good", "bad"))
    return folder


@pytest.fixture
def served(bundles, tmp_path) -> Iterator[Callable[..., Served]]:
    """Start services of ``now.bundle``, with a log, monitors and a state below ``tmp_path``."""
    with ExitStack() as stack:

        def start(**changed) -> Served:
            settings = replace(
                ServiceSettings(
                    bundles={"now": bundles / "now.bundle"},
                    limits=Limits(),
                    tokens=Tokens(admin="admin-admin-admin"),
                    workers=2,
                    log=tmp_path / "log",
                    monitor=tmp_path / "monitor",
                    state=tmp_path / "state.json",
                    uncertified=True,
                ),
                **changed,
            )
            return Served(stack.enter_context(opened(settings)), settings)

        yield start


@pytest.fixture(scope="module")
def shared(bundles) -> Iterator[Served]:
    """A service that keeps nothing."""
    settings = ServiceSettings(
        {"now": bundles / "now.bundle"}, Limits(), Tokens(), workers=1, uncertified=True
    )
    with opened(settings) as service:
        yield Served(service, settings)
