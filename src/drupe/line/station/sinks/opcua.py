"""Answers and heartbeats in variables of an OPC UA server, by asyncua (``drupe[opcua]``).

All variables of an answer are written in one request. ``Number`` is the first of them and
``NumberAgain`` the last, so that a program which finds both equal has read one answer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from drupe.line.station.answers import LANE_CODES, Beat, LineAnswer
from drupe.line.station.configuration import OpcuaSettings
from drupe.line.station.sinks.sink import SinkError
from drupe.printable import printable

VARIABLES = {
    "Number": "UInt32",
    "Piece": "UInt32",
    "Item": "String",
    "Lane": "UInt16",
    "Score": "Float",
    "Fault": "String",
    "Heartbeat": "UInt32",
    "Valid": "Boolean",
    "NumberAgain": "UInt32",
}
"""Names behind NODE, in the order in which they are written, with their types."""


class OpcuaSink:
    """Writes the variables for each answer, and heartbeat and valid between them."""

    def __init__(self, settings: OpcuaSettings) -> None:
        from asyncua import sync, ua

        logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # what it raises is enough
        self._sync: Any = sync
        self._ua: Any = ua
        self._settings = settings
        self._client: Any = None
        self._loop: Any = None
        self._nodes: dict[str, Any] = {}
        self.name = f"opcua {settings.url} {settings.node}"
        self.timeout_s = settings.timeout_ms / 1000

    def probe(self) -> str:
        """Read every variable, and check its type."""
        try:
            self._connect()
            wrong = []
            for name, node in self._nodes.items():
                kind = node.read_data_type_as_variant_type().name
                if kind != VARIABLES[name]:
                    place = f"{self._settings.node}.{name}"
                    wrong.append(f"{place}: must be of type {VARIABLES[name]}, got {kind}")
            if wrong:
                raise SinkError("; ".join(wrong))
        finally:
            self.close(None)
        return f"{len(VARIABLES)} variables are there"

    def open(self, beat: Beat) -> None:
        """Connect and write the variables without an answer: lane reject."""
        self.close(None)
        self._connect()
        self._write(values(None, beat))

    def take(self, answer: LineAnswer, beat: Beat, seconds: float) -> None:
        """Write the variables."""
        self._write(values(answer, beat), seconds)

    def beat(self, beat: Beat) -> None:
        """Write heartbeat and valid; where nothing is valid, the lane is reject."""
        said: dict[str, Any] = {"Heartbeat": beat.count & 0xFFFFFFFF, "Valid": beat.is_valid}
        self._write(said if beat.is_valid else said | {"Lane": LANE_CODES["reject"]})

    def close(self, beat: Beat | None) -> None:
        """Write that nothing is valid, and disconnect; without ``beat`` just let go."""
        if self._loop is None:
            return
        try:
            if beat is not None and self._client is not None:
                self.beat(beat)
        finally:
            try:
                if self._client is not None:
                    self._client.disconnect()
            except Exception:  # it was dead already; the library raises types of its own
                pass
            finally:
                self._loop.stop()
                self._loop = self._client = None

    def _connect(self) -> None:
        settings = self._settings
        self._loop = self._sync.ThreadLoop(timeout=self.timeout_s)
        self._loop.daemon = True
        self._loop.start()
        client = self._sync.Client(settings.url, timeout=self.timeout_s, tloop=self._loop)
        if settings.user is not None:
            client.set_user(settings.user)
            client.set_password(settings.password or "")
        client.connect()
        self._client = client
        self._nodes = {name: client.get_node(f"{settings.node}.{name}") for name in VARIABLES}

    def _write(self, said: Mapping[str, Any], seconds: float | None = None) -> None:
        ua = self._ua
        self._loop.timeout = seconds or self.timeout_s
        nodes = [self._nodes[name] for name in said]
        given = [
            ua.DataValue(ua.Variant(value, getattr(ua.VariantType, VARIABLES[name])))
            for name, value in said.items()
        ]
        self._client.write_values(nodes, given)


def values(answer: LineAnswer | None, beat: Beat) -> dict[str, Any]:
    """Return the value of each variable."""
    number = 0 if answer is None else answer.number & 0xFFFFFFFF
    score = None if answer is None else answer.score
    return {
        "Number": number,
        "Piece": 0 if answer is None else answer.piece & 0xFFFFFFFF,
        "Item": "" if answer is None else printable(answer.item),
        "Lane": LANE_CODES["reject" if answer is None else answer.lane],
        "Score": float("nan") if score is None else score,
        "Fault": "" if answer is None else printable(answer.fault or ""),
        "Heartbeat": beat.count & 0xFFFFFFFF,
        "Valid": beat.is_valid,
        "NumberAgain": number,
    }
