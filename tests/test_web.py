from __future__ import annotations

import asyncio
import socket

import pytest
from starlette.requests import Request

from drupe.errors import InputError
from drupe.web import BodyTooLongError, is_secret, listening_socket, own_hosts, read_body


def request(*parts: bytes, length: str | None = None) -> Request:
    """Return a request whose body comes in parts."""
    waiting = [
        {"type": "http.request", "body": part, "more_body": place < len(parts) - 1}
        for place, part in enumerate(parts)
    ]

    async def receive():
        return waiting.pop(0)

    headers = [] if length is None else [(b"content-length", length.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def test_a_body_is_read_up_to_its_limit() -> None:
    assert asyncio.run(read_body(request(b"ab", b"cd"), 4)) == b"abcd"
    with pytest.raises(BodyTooLongError):
        asyncio.run(read_body(request(b"ab", b"cd", b"e"), 4))


def test_a_body_that_says_it_is_longer_is_not_read() -> None:
    with pytest.raises(BodyTooLongError):
        asyncio.run(read_body(request(length="5"), 4))
    assert asyncio.run(read_body(request(b"abcd", length="no number"), 4)) == b"abcd"


def test_secrets_are_compared_whole() -> None:
    assert is_secret("a secret", "a secret")
    assert not is_secret("a secre", "a secret")
    assert not is_secret("\udcffé", "a secret")


def test_a_taken_port_names_its_host() -> None:
    with listening_socket(0) as first:
        port = first.getsockname()[1]
        assert own_hosts(port) == {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
        with pytest.raises(InputError, match=f"--port: must be free, got 0.0.0.0:{port}"):
            listening_socket(port, "0.0.0.0")


@pytest.mark.parametrize(
    ("host", "family"), [("::1", socket.AF_INET6), ("127.0.0.1", socket.AF_INET)]
)
def test_an_address_says_which_family_it_is_of(monkeypatch, host, family) -> None:
    asked = []

    def opened(*arguments):
        asked.append(arguments)
        raise RuntimeError  # this machine may have only one of the two

    monkeypatch.setattr(socket, "socket", opened)
    with pytest.raises(RuntimeError):
        listening_socket(0, host)
    assert asked == [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)]
