"""``drupe labels review`` as a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any


class ReviewProcess:
    """The command with its ``words``, run in ``folder`` by ``ann``, and what its page would do."""

    def __init__(self, folder: Path, *words: str | Path) -> None:
        command = [sys.executable, "-m", "drupe", *map(str, words), "--no-open"]
        environment = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "80"}
        self.process = subprocess.Popen(
            [*command, "--reviewer", "ann"],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.where = self.process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", self.where)
        for _ in range(400):  # the address is there before the server listens
            try:
                self.state = self.ask("state")
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("no answer")

    def ask(self, path: str, body: Any = None) -> Any:
        """Return what the server answers: the bytes of a picture, or a document."""
        origin = {"Origin": self.where.rpartition("/")[0].rpartition("/")[0]}
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.where + path, content, origin)
        with urllib.request.urlopen(request, timeout=20) as response:
            found = response.read()
        return found if path.startswith("picture/") else json.loads(found)

    def look_and_say(self) -> None:
        """Look at the picture that is shown, and call it good."""
        showing = self.state["showing"]
        self.ask(f"picture/{showing}")
        said = {"showing": showing, "judgement": "good", "type": "", "seconds": 1.0}
        self.state = self.ask("answer", said)
