"""A line's client of ``drupe serve``: whatever isn't a timely *accept* is review.

    python examples/serve/client.py http://127.0.0.1:8180/decide FOLDER_OF_CROPS

The standard library suffices. One connection is kept open; an answer that is late, missing, damaged
or not of this item is never taken for an *accept*. ``DRUPE_SERVE_TOKEN`` holds the token, if any.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

DEADLINE = 0.2  # seconds from frame to decision
ON_FAULT = "review"  # or "reject", where nobody stands by; never "accept"
LANES = ("accept", "review", "reject")


class Decider:
    """Asks the service at ``address``, over one connection."""

    def __init__(self, address: str, token: str | None = None) -> None:
        parts = urlsplit(address)
        self._path = parts.path
        self._connection = http.client.HTTPConnection(parts.netloc, timeout=DEADLINE)
        self._headers = {"Drupe-Deadline-Ms": str(round(1000 * DEADLINE))}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def decide(self, item: str, image: bytes) -> str:
        """Return the lane of one image file's bytes."""
        headers = self._headers | {"Drupe-Item": item}
        try:
            self._connection.request("POST", self._path, image, headers)
            response = self._connection.getresponse()
            said = json.loads(response.read())
            if response.status == 200 and said["item"] == item and said["lane"] in LANES:
                return str(said["lane"])
            print(f"{item}: {response.status} {said.get('fault')}", file=sys.stderr)
        except Exception as fault:  # whatever it is: no answer, so no accept
            print(f"{item}: {type(fault).__name__} {fault}", file=sys.stderr)
            self._connection.close()  # an answer that still comes belongs to no other item
        return ON_FAULT


def main(address: str, folder: str) -> Counter[str]:
    """Have each file decided, and return how often each lane was chosen."""
    decider = Decider(address, os.environ.get("DRUPE_SERVE_TOKEN"))
    files = sorted(Path(folder).rglob("*.png"))
    lanes = Counter(decider.decide(file.stem, file.read_bytes()) for file in files)
    print(dict(lanes))
    return lanes


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
