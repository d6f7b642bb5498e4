"""A hostile year in an hour: damage, kills, full disks, SIGTERM: what slips through?

    python benchmarks/campaign.py                          # all four, hours on 2 cores
    python benchmarks/campaign.py --cases 2 --stops 12     # a quarter of an hour
    python benchmarks/campaign.py --only inputs --kinds bundle --cases 400 --seed 7

Prints a table, and with ``--rows FILE`` adds a JSON row per part. All of it is seeded; moments of
kills depend on the machine. A *wrong result* is an answer that differs from the one without damage
although nothing was said: another decision by a bundle, other predictions by a resumed run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import campaign_inputs
import campaign_place
import campaign_stops
from campaign_table import Tally, print_table
from provenance import circumstances

PARTS = ("inputs", "kills", "full", "terminated")


def main() -> None:
    options = parse()
    parts = options.only or PARTS
    with tempfile.TemporaryDirectory(prefix="drupe-campaign-") as scratch:
        tallies: list[Tally] = []
        if "inputs" in parts:
            place = campaign_place.build(Path(scratch) / "inputs" / "place", 600)
            tallies += campaign_inputs.damage(place, options.cases, options.seed, options.kinds)
        if set(parts) - {"inputs"}:
            place = campaign_place.build(Path(scratch) / "stops" / "place", 160)
        if "kills" in parts:
            tallies += campaign_stops.kills(
                place, options.stops or 100, options.seed, options.kinds
            )
        if "terminated" in parts:
            tallies += campaign_stops.terminated(
                place, options.stops or 50, options.seed, options.kinds
            )
        if "full" in parts:
            tallies += campaign_stops.full_disk(
                place, options.stops or 48, options.seed, options.kinds
            )
    print_table(tallies)
    if options.rows:
        row = {
            "benchmark": "campaign",
            **circumstances("campaign.py", "numpy", "torch", "onnxruntime"),
            "seed": options.seed,
            "parts": [tally.to_json() for tally in tallies],
        }
        with options.rows.open("a", encoding="utf-8") as rows:
            rows.write(json.dumps(row) + "\n")
    raise SystemExit(any(tally.faults for tally in tallies))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=PARTS)
    parser.add_argument("--kinds", action="append", help="of inputs, or commands, by their start")
    parser.add_argument("--cases", type=int, default=60, help="damaged inputs per kind")
    parser.add_argument("--stops", type=int, help="kills, signals and full disks, of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=Path, default=None)
    return parser.parse_args()


if __name__ == "__main__":
    main()
