"""A hostile year in an hour: damage, kills, full disks, SIGTERM: what slips through?

    python benchmarks/campaign.py                  # all four, about an hour on 2 cores
    python benchmarks/campaign.py --quick          # two minutes
    python benchmarks/campaign.py --only inputs --cases 400 --seed 7

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
        place = Path(scratch) / "place"
        campaign_place.build(place, 600)
        campaign_place.snapshot(place)
        tallies: list[Tally] = []
        if "inputs" in parts:
            cases = options.cases or (3 if options.quick else 60)
            tallies += campaign_inputs.damage(place, cases, options.seed, options.kinds)
        if "kills" in parts:
            tallies += campaign_stops.kills(place, 4 if options.quick else 100, options.seed)
        if "terminated" in parts:
            tallies += campaign_stops.terminated(place, 4 if options.quick else 50, options.seed)
        if "full" in parts:
            tallies += campaign_stops.full_disk(place, 2 if options.quick else 40, options.seed)
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
    parser.add_argument("--kinds", action="append", help="of inputs, by the start of their names")
    parser.add_argument("--cases", type=int, default=None, help="damaged inputs per kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", type=Path, default=None)
    return parser.parse_args()


if __name__ == "__main__":
    main()
