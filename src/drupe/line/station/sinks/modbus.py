"""Answers and heartbeats in registers of a Modbus TCP server, by pymodbus (``drupe[modbus]``).

Twelve holding registers, the whole block in one request (function 16), which a server takes as one:

0 version of this map (1) · 1 heartbeat · 2 valid · 3 lane · 4, 5 number · 6, 7 piece · 8 score in
1/10000 · 9 fault · 10, 11 number again. Numbers of two registers have their high word first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from drupe.line.station.answers import LANE_CODES, Beat, LineAnswer
from drupe.line.station.configuration import ModbusSettings
from drupe.line.station.sinks.sink import SinkError

MAP_VERSION = 1
NO_SCORE = 0xFFFF
REGISTERS = 12
POLL_S = 0.002
"""Between two looks whether the PLC's program has acknowledged."""


class ModbusSink:
    """Writes the block for each answer, and heartbeat and valid between them."""

    def __init__(self, settings: ModbusSettings, now: Callable[[], float]) -> None:
        from pymodbus.client import ModbusTcpClient

        # It says on stderr what it raises, too.
        logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)
        self._make: Any = ModbusTcpClient
        self._settings, self._now = settings, now
        self._client: Any = None
        self.name = f"modbus {settings.host}:{settings.port} unit {settings.unit}"
        self.timeout_s = settings.timeout_ms / 1000

    def probe(self) -> str:
        """Read the registers."""
        self._connect()
        try:
            self._read(self._settings.address, REGISTERS)
            if self._settings.acknowledged_at is not None:
                self._read(self._settings.acknowledged_at, 2)
        finally:
            self.close(None)
        first = self._settings.address
        return f"holding registers {first} to {first + REGISTERS - 1} can be read"

    def open(self, beat: Beat) -> None:
        """Connect and write the block without an answer: lane reject."""
        self.close(None)
        self._connect()
        self._write(0, block(None, beat))

    def take(self, answer: LineAnswer, beat: Beat, seconds: float) -> None:
        """Write the block, and wait for the PLC's program where it acknowledges."""
        until = self._now() + seconds
        self._write(0, block(answer, beat), seconds)
        if self._settings.acknowledged_at is None:
            return
        while self._read(self._settings.acknowledged_at, 2) != list(words(answer.number)):
            if self._now() >= until:
                raise SinkError("the PLC's program didn't acknowledge the answer in time")
            time.sleep(POLL_S)

    def beat(self, beat: Beat) -> None:
        """Write heartbeat and valid; where nothing is valid, the lane is reject."""
        values = [beat.count & 0xFFFF, int(beat.is_valid)]
        self._write(1, values if beat.is_valid else [*values, LANE_CODES["reject"]])

    def close(self, beat: Beat | None) -> None:
        """Write that nothing is valid, and disconnect; without ``beat`` just let go."""
        if self._client is None:
            return
        try:
            if beat is not None:
                self.beat(beat)
        finally:
            self._client.close()
            self._client = None

    def _connect(self) -> None:
        settings = self._settings
        self._client = self._make(
            settings.host, port=settings.port, timeout=self.timeout_s, retries=0
        )
        if not self._client.connect():
            raise SinkError("can't be connected to")

    def _write(self, offset: int, values: list[int], seconds: float | None = None) -> None:
        if not self._client.connected:  # it would connect again by itself, to whatever is there now
            raise SinkError("the connection is gone")
        self._client.comm_params.timeout_connect = seconds or self.timeout_s
        given = self._client.write_registers(
            self._settings.address + offset, values, device_id=self._settings.unit
        )
        _check(given)

    def _read(self, address: int, count: int) -> list[int]:
        if not self._client.connected:
            raise SinkError("the connection is gone")
        given = self._client.read_holding_registers(
            address, count=count, device_id=self._settings.unit
        )
        _check(given)
        return list(given.registers)


def block(answer: LineAnswer | None, beat: Beat) -> list[int]:
    """Return the twelve registers."""
    number, piece = (0, 0) if answer is None else (answer.number, answer.piece)
    score = None if answer is None else answer.score
    lane = "reject" if answer is None else answer.lane
    return [
        MAP_VERSION,
        beat.count & 0xFFFF,
        int(beat.is_valid),
        LANE_CODES[lane],
        *words(number),
        *words(piece),
        NO_SCORE if score is None else round(10_000 * min(max(score, 0), 1)),
        int(answer is not None and answer.fault is not None),
        *words(number),
    ]


def words(number: int) -> tuple[int, int]:
    """Return the high and the low 16 bits of ``number``, of its lowest 32."""
    return (number >> 16) & 0xFFFF, number & 0xFFFF


def _check(given: Any) -> None:
    if given.isError():
        raise SinkError(f"the server refuses: {given}")
