"""A broker, a Modbus server and an OPC UA server, as processes that can be killed and come back.

``python line_servers.py modbus PORT FILE`` and ``... opcua PORT FILE`` are the PLC: whatever is
written to them they add to FILE, a line of JSON each, which is what the receiving side has seen.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
UP_WITHIN_S = 20.0
NODE = "ns=2;s=Drupe"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def needs(kind: str) -> None:
    """Skip where a part is missing."""
    if kind == "mqtt":
        if MOSQUITTO is None:
            pytest.skip("mosquitto not found: apt install mosquitto")
        pytest.importorskip("paho.mqtt", reason="needs drupe[mqtt]")
    elif kind == "modbus":
        pytest.importorskip("pymodbus", reason="needs drupe[modbus]")
    else:
        pytest.importorskip("asyncua", reason="needs drupe[opcua]")


class Server:
    """A server of ``kind`` (mqtt, modbus, opcua) on a port that it keeps over its deaths."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.port = kind, free_port()
        self.seen = folder / f"{kind}-{self.port}.jsonl"
        self._said = (folder / f"{kind}-{self.port}.log").open("wb")
        self._config = folder / f"{kind}-{self.port}.conf"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Server:
        if self.kind == "mqtt":
            self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
            words = [str(MOSQUITTO), "-c", str(self._config)]
        else:
            words = [sys.executable, __file__, self.kind, str(self.port), str(self.seen)]
        self._process = subprocess.Popen(words, stdout=self._said, stderr=self._said)
        until = time.monotonic() + UP_WITHIN_S
        while time.monotonic() < until:
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.02)
        raise TimeoutError(f"{self.kind} doesn't listen")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        self.kill()
        self._said.close()

    def answers(self) -> list[dict]:
        """Return what was written to a PLC so far."""
        text = self.seen.read_text() if self.seen.exists() else ""
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def _noter(file: str):
    stream = Path(file).open("a", buffering=1)  # noqa: SIM115 (as long as the process)

    def note(**said) -> None:
        stream.write(json.dumps(said) + "\n")

    return note


async def _modbus(port: int, file: str) -> None:
    from pymodbus.server import StartAsyncTcpServer
    from pymodbus.simulator import DataType, SimData, SimDevice

    note = _noter(file)

    async def action(function, start, address, count, registers, given):
        if given is not None and len(given) == 12:
            number = given[4] << 16 | given[5]
            piece = given[6] << 16 | given[7]
            again = given[10] << 16 | given[11]
            note(number=number, again=again, piece=piece, lane=given[3], valid=given[2])
        elif given is not None:
            note(beat=given[0], valid=given[1], lane=given[2] if len(given) > 2 else None)

    data = SimData(0, values=[0] * 64, datatype=DataType.REGISTERS)
    device = SimDevice(1, simdata=[data], action=action)
    await StartAsyncTcpServer(device, address=("127.0.0.1", port))


async def _opcua(port: int, file: str) -> None:
    from asyncua import Server as Uaserver
    from asyncua import ua
    from asyncua.common.callback import CallbackType

    from drupe.line.station.sinks.opcua import VARIABLES

    note = _noter(file)
    server = Uaserver()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    space = await server.register_namespace("line")
    first = {"String": "", "Float": 0.0, "Boolean": False}
    for name, kind in VARIABLES.items():
        node = await server.nodes.objects.add_variable(
            ua.NodeId(f"Drupe.{name}", space),
            name,
            first.get(kind, 0),
            getattr(ua.VariantType, kind),
        )
        await node.set_writable()

    def wrote(event, _) -> None:
        said = {}
        for one in event.request_params.NodesToWrite:
            said[str(one.NodeId.Identifier).removeprefix("Drupe.")] = one.Value.Value.Value
        if "Number" in said:
            note(
                number=said["Number"],
                again=said["NumberAgain"],
                piece=said["Piece"],
                lane=said["Lane"],
                valid=int(said["Valid"]),
            )
        elif "Heartbeat" in said:  # and not the server's own time
            note(beat=said["Heartbeat"], valid=int(said["Valid"]), lane=said.get("Lane"))

    server.subscribe_server_callback(CallbackType.PostWrite, wrote)
    async with server:
        await asyncio.Event().wait()


if __name__ == "__main__":
    kind, port, file = sys.argv[1:]
    asyncio.run({"modbus": _modbus, "opcua": _opcua}[kind](int(port), file))
