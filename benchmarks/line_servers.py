"""A broker, a Modbus server and an OPC UA server, as processes that can be killed and come back.

``python line_servers.py modbus PORT FILE`` and ``... opcua PORT FILE`` are the PLC: whatever is
written to them they add to FILE, a line of JSON each, which is what the receiving side has seen.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
UP_WITHIN_S = 60.0
NODE = "ns=2;s=Drupe"
ECHO = 40
"""Registers in which the Modbus server's program repeats the number of an answer."""

KINDS = ("mqtt", "modbus", "opcua")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Server:
    """A server of ``kind`` (mqtt, modbus, opcua) on a port that it keeps over its deaths."""

    def __init__(self, kind: str, folder: Path, anybody: bool = True) -> None:
        self.kind, self.port = kind, free_port()
        self._anybody = "true" if anybody else "false"
        self.seen = folder / f"{kind}-{self.port}.jsonl"
        self._said = (folder / f"{kind}-{self.port}.log").open("wb")
        self._config = folder / f"{kind}-{self.port}.conf"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Server:
        """Start it, again too, and wait until it listens."""
        if self.kind == "mqtt":
            self._config.write_text(
                f"listener {self.port} 127.0.0.1\nallow_anonymous {self._anybody}\n"
            )
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
        """Kill it, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it hang: its connections stay, and it says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Kill it for good."""
        self.kill()
        self._said.close()

    def answers(self) -> list[dict]:
        """Return what was written to a PLC so far."""
        text = self.seen.read_text() if self.seen.exists() else ""
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def settings(server: Server) -> dict:
    """Return the sink of a line that speaks to ``server``."""
    return {
        "mqtt": {"mqtt": {"host": "127.0.0.1", "port": server.port, "topic": "line"}},
        "modbus": {"modbus": {"host": "127.0.0.1", "port": server.port, "address": 8}},
        "opcua": {"opcua": {"url": f"opc.tcp://127.0.0.1:{server.port}/", "node": NODE}},
    }[server.kind]


class Listener:
    """A subscriber that comes back whenever the broker does, and notes what it hears."""

    def __init__(self, port: int) -> None:
        import paho.mqtt.client as library

        self.answers: list[dict] = []
        self.states: list[dict] = []
        self.is_there = threading.Event()
        self._client = client = library.Client(library.CallbackAPIVersion.VERSION2)
        client.reconnect_delay_set(0.05, 0.1)
        client.on_connect = lambda *given: client.subscribe("line/#", qos=1)
        client.on_subscribe = lambda *given: self.is_there.set()
        client.on_message = self._hear
        client.connect_async("127.0.0.1", port)
        client.loop_start()

    def _hear(self, client, data, message) -> None:
        kept = self.answers if message.topic.endswith("answer") else self.states
        kept.append(json.loads(message.payload))

    def stop(self) -> None:
        """Hear no more."""
        self._client.disconnect()
        self._client.loop_stop()


def accepted_there(server: Server, receiver: Listener | None) -> list[int]:
    """Return the numbers that the receiving side was told to accept, in their order."""
    if receiver is not None:
        return [one["number"] for one in receiver.answers if one["lane"] == "accept"]
    told = [one for one in server.answers() if "number" in one]
    assert all(one["number"] == one["again"] for one in told)
    return [one["number"] for one in told if one["lane"] == 1]


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
            registers[ECHO - start : ECHO - start + 2] = given[4:6]  # the program acknowledges
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
