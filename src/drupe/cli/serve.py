"""``drupe serve``: bundles that decide over HTTP."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drupe.cli.console import print_json, print_line, print_note
from drupe.cli.options import Json, examples
from drupe.cli.predict import RunBackend, RunPrecision, Uncertified
from drupe.errors import InputError, MissingExtraError
from drupe.host import OWN_ADDRESSES

if TYPE_CHECKING:
    from drupe.line.service.process import ServiceSettings

EXAMPLES = examples(
    "drupe serve cherries.bundle",
    "drupe serve cherries.bundle --log decisions --monitor monitor --deadline 50",
    "drupe serve top=top.bundle side=side.bundle --host 0.0.0.0 --token-file token",
    "curl --data-binary @crop.png http://127.0.0.1:8180/decide",
)

TOKEN, ADMIN_TOKEN = "DRUPE_SERVE_TOKEN", "DRUPE_SERVE_ADMIN_TOKEN"
"""Environment variables."""

MEGABYTE = 1 << 20

Bundles = Annotated[
    list[str],
    typer.Argument(metavar="[NAME=]BUNDLE...", help="Each answers at /NAME/decide."),
]
Host = Annotated[
    str, typer.Option(metavar="ADDRESS", help="Where to listen; beyond this machine with a token.")
]
Port = Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0: any that is free.")]
Deadline = Annotated[
    int,
    typer.Option(
        "--deadline",
        metavar="MS",
        min=1,
        max=600_000,
        help="Milliseconds from a request's first byte to its answer; later is review.",
    ),
]
Queue = Annotated[
    int,
    typer.Option(metavar="N", min=1, help="Requests of a bundle at once; one more is review."),
]
Workers = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, max=256, help="Threads that decide; default one a core."),
]
MaxBody = Annotated[
    int, typer.Option("--max-body", metavar="MB", min=1, max=1024, help="Of one request.")
]
MaxImages = Annotated[
    int, typer.Option("--max-images", metavar="N", min=1, max=10_000, help="Of one request.")
]
TokenFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help=f"What clients must know; or the variable {TOKEN}."),
]
AdminTokenFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help=f"What whoever changes bundles must know; or {ADMIN_TOKEN}. Without it nobody may.",
    ),
]
Log = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Log each decision in DIR/NAME, for drupe log.")
]
LogKey = Annotated[Path | None, typer.Option(metavar="FILE", help="Signs the log.")]
Monitor = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Keep the monitors' states there.")
]
Pictures = Annotated[
    Path | None,
    typer.Option(
        "--capture",
        metavar="DIR",
        help="Keep every review and a sample of all else in DIR/NAME, for drupe capture.",
    ),
]
State = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Keeps which bundle was switched to, for a restart."),
]


def serve(
    bundles: Bundles,
    host: Host = "127.0.0.1",
    port: Port = 8180,
    deadline_ms: Deadline = 1000,
    queue: Queue = 64,
    workers: Workers = None,
    max_body: MaxBody = 16,
    max_images: MaxImages = 64,
    token_file: TokenFile = None,
    admin_token_file: AdminTokenFile = None,
    log: Log = None,
    log_key: LogKey = None,
    monitor: Monitor = None,
    capture: Pictures = None,
    state: State = None,
    backend: RunBackend = None,
    precision: RunPrecision = None,
    uncertified: Uncertified = False,
    as_json: Json = False,
) -> None:
    """Decide over HTTP: POST /decide takes an image, several, or raw pixels.

    Only code 200 with the lane "accept" means accept. SIGTERM or Ctrl-C ends it in order.
    The addresses are described at http://127.0.0.1:8180/ once it runs.
    """
    try:
        from drupe.line.service import process
        from drupe.line.service.application import Limits
        from drupe.line.service.guard import Tokens, read_token
    except ModuleNotFoundError as error:
        raise MissingExtraError("drupe serve", "serve", str(error.name)) from error

    tokens = Tokens(
        read_token("--token-file", token_file, os.environ.get(TOKEN)),
        read_token("--admin-token-file", admin_token_file, os.environ.get(ADMIN_TOKEN)),
    )
    if host not in OWN_ADDRESSES and tokens.decide is None:
        raise InputError(
            f"--host: must be 127.0.0.1 without --token-file: anybody could ask, got {host}"
        )
    settings = process.ServiceSettings(
        bundles=process.named_bundles(bundles),
        limits=Limits(deadline_ms / 1000, max_body * MEGABYTE, max_images),
        tokens=tokens,
        workers=workers,
        places=queue,
        log=log,
        log_key=log_key,
        monitor=monitor,
        capture=capture,
        state=state,
        backend=backend,
        precision=precision,
        uncertified=uncertified,
    )
    _serve(settings, host, port, as_json)


def _serve(settings: ServiceSettings, host: str, port: int, as_json: bool) -> None:
    from drupe.line.service import process
    from drupe.web import listening_socket

    with listening_socket(port, host) as listener, process.opened(settings) as service:
        address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        if as_json:
            print_json({"address": address, "bundles": service.to_json()})
        else:
            for one in service.to_json():
                print_line(f"{address}/{one['name']}/decide: {one['path']}, {one['function']}")
            print_note("Stop with Ctrl-C.")
        with suppress(KeyboardInterrupt):  # the way to stop
            process.serve(service, settings, listener)
