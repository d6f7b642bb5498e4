"""The page's arithmetic in JavaScript, run by Node where it is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.resources import files
from typing import Any

import pytest

NODE = shutil.which("node") or shutil.which("nodejs")
needs_node = pytest.mark.skipif(NODE is None, reason="node not found: apt install nodejs")

ASSETS = files("drupe.reporting") / "assets"
SOURCE = "".join(
    (ASSETS / name).read_text(encoding="utf-8") for name in ("evidence.js", "fixes.js")
)


def run_js(body: str, given: Any) -> Any:
    """Return what ``body``, a function's body over ``given``, returns."""
    program = f"""{SOURCE}
const given = JSON.parse(require("fs").readFileSync(0, "utf8"));
const result = (() => {{ {body} }})();
process.stdout.write(JSON.stringify(result));
"""
    assert NODE is not None
    done = subprocess.run(
        [NODE, "-e", program],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
