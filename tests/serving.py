"""``drupe serve`` as a process of its own, on the line PC's install: without PyTorch."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

TOKEN = "a-token-of-the-tests"

WITHOUT = """
import sys
for name in ("torch", "torchvision", "scipy", "polars", "onnx", "timm", "safetensors", "filelock"):
    sys.modules[name] = None
from drupe.cli.app import main
main()
"""


class Process:
    """``drupe serve WORDS`` in ``folder``, and a client of it."""

    def __init__(self, folder: Path, *words: str | Path) -> None:
        command = [sys.executable, "-c", WITHOUT, "serve", *map(str, words)]
        self.folder = folder
        self.child = subprocess.Popen(
            [*command, "--json", "--uncertified"],
            cwd=folder,
            env=os.environ | {"DRUPE_SERVE_ADMIN_TOKEN": TOKEN},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        lines = []
        while (line := self.child.stdout.readline()) and line != "}\n":
            lines.append(line)
        assert line, self.child.communicate()[1]
        self.port = int(json.loads("".join([*lines, "}"]))["address"].rpartition(":")[2])

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, json.loads(content)

    def change(self, what: str, **asked):
        body = json.dumps(asked).encode()
        return self.ask("POST", f"/admin/now/{what}", body, Authorization=f"Bearer {TOKEN}")

    def stop(self) -> tuple[int, str]:
        self.child.send_signal(signal.SIGTERM)
        _, said = self.child.communicate(timeout=30)
        return self.child.returncode, said
