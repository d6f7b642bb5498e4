"""Commands that are killed, asked to end, or meet a full disk: what is left, and what comes after.

After each the same command is run again, undisturbed: its results must be those of a command that
was never stopped.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from campaign_place import reset
from campaign_table import Tally
from forked import Command, Finished, living_children, run

Words = tuple[str, ...]
RUNS = "drupe-store/runs/small"


@dataclass(frozen=True)
class Writer:
    """A command that writes; ``results``: globs of files that are the same each time it is run."""

    words: Words
    results: Sequence[str]


WRITERS = (
    Writer(
        ("data", "synth", "new", "--images", "150", "--size", "64"), ["new/*/*/*", "new/*.json"]
    ),
    Writer(("data", "audit", "crops", "--fix-list", "new.csv"), ["new.csv"]),
    Writer(("data", "audit", "crops", "--apply", "fixes.csv"), ["drupe-store/overlays/*"]),
    Writer(
        ("train", "tiny.yaml", "--data", "crops", "--out", "fresh", "--resume"),
        ["fresh/predictions/*", "fresh/model.safetensors", "fresh/config.yaml"],
    ),
    Writer(("evaluate", "run"), ["run/predictions/*", "run/evaluation.json"]),
    Writer(("threshold", "run", "--min-recall", "0.8"), ["run/evaluation.json"]),
    Writer(("export", "run", "new.bundle"), ["new.bundle/*.onnx", "new.bundle/golden.npz"]),
    Writer(
        ("predict", "bundle", "crops/val", "--uncertified", "--csv", "p.csv", "--jsonl", "p.jsonl"),
        ["p.csv", "p.jsonl"],
    ),
    Writer(
        ("ensemble", f"{RUNS}/BASE/seed-1", f"{RUNS}/NEW/seed-1", "--out", "both"),
        ["both/predictions/*", "both/model.safetensors"],
    ),
    Writer(
        ("study", "run", "small.yaml", "--data", "crops", "--store", "other"),
        ["other/runs/small/*/seed-1/predictions/*", "other/runs/small/*/seed-1/model.safetensors"],
    ),
    Writer(("study", "report", "small.yaml", "--data", "crops"), []),
    Writer(("study", "deliver", "small.yaml"), ["drupe-store/runs/small/*/*.onnx"]),
    Writer(("report", "run", "--out", "run.html"), []),
    Writer(("data", "audit", "crops", "--html", "audit.html"), []),
    Writer(("labels", "rank", "--run", "run"), ["run/labels.csv"]),
    Writer(("predict", "bundle", "crops/val", "--uncertified", "--log", "log"), []),
    Writer(
        (
            *("certify", "bundle/fp32.onnx", "crops", "--unseen", "--min-recall", "0.8"),
            *("--out", "theirs.bundle", "--run", "theirs"),
        ),
        ["theirs.bundle/*.onnx", "theirs/predictions/*"],
    ),
)


@dataclass(frozen=True)
class Undisturbed:
    """What a writer does when nobody stops it: its time, its results, its largest file's bytes."""

    writer: Writer
    seconds: float
    results: dict[str, str]
    largest: int

    @classmethod
    def of(cls, writer: Writer, place: Path) -> Undisturbed:
        """Run ``writer`` twice: the second time is without what the first has cached."""
        clear(place)
        done = run(writer.words, place)
        if done.code not in (0, 1):
            raise SystemExit(f"drupe {' '.join(writer.words)}: {done.code}: {done.stderr}")
        sizes = [file.stat().st_size for file in place.rglob("*") if file.is_file()]
        return cls(writer, done.seconds, results(writer, place), max(sizes))


def clear(place: Path) -> None:
    """Put the workplace back without the packed images, which commands then write too."""
    reset(place)
    shutil.rmtree(place / "drupe-store" / "packed")


def results(writer: Writer, place: Path) -> dict[str, str]:
    """Return the SHA-256 of each result of a command."""
    files = sorted({file for pattern in writer.results for file in place.glob(pattern)})
    return {
        str(file.relative_to(place)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.is_file()
    }


def leftovers(place: Path) -> list[str]:
    """Return temporary files, checkpoints of finished runs, and locks of the runs."""
    return [
        str(path.relative_to(place))
        for path in place.rglob("*")
        if "crops" not in path.parts
        and (path.name.endswith((".tmp", ".partial")) or path.name in ("checkpoint", ".lock"))
    ]


def kills(place: Path, number: int, seed: int, only: Sequence[str] | None = None) -> list[Tally]:
    """Kill each writer at random moments, ``number`` times in all."""
    return [
        _killed(*one, random.Random(f"{seed} kill"))
        for one in _shared(place, number, "killed", only)
    ]


def terminated(
    place: Path, number: int, seed: int, only: Sequence[str] | None = None
) -> list[Tally]:
    """Send SIGTERM to each writer at random moments, ``number`` times in all."""
    shared = _shared(place, number, "SIGTERM", only)
    return [_asked_to_end(*one, random.Random(f"{seed} term")) for one in shared]


def full_disk(
    place: Path, number: int, seed: int, only: Sequence[str] | None = None
) -> list[Tally]:
    """Let each writer's files end at ``number`` sizes in all."""
    shared = _shared(place, number, "full disk", only)
    return [_cut_short(*one, random.Random(f"{seed} full")) for one in shared]


def _shared(
    place: Path, number: int, kind: str, only: Sequence[str] | None
) -> Iterator[tuple[Undisturbed, Path, int, Tally]]:
    """Yield each writer with its share of ``number``; a share of none is left out."""
    writers = [one for one in WRITERS if not only or " ".join(one.words).startswith(tuple(only))]
    for order, writer in enumerate(writers):
        share = (number + len(writers) - 1 - order) // len(writers)
        if share:
            named = " ".join(
                word for word in writer.words[:2] if "." not in word and "/" not in word
            )
            yield Undisturbed.of(writer, place), place, share, Tally(f"{kind}: {named}")


def _killed(
    calm: Undisturbed, place: Path, number: int, tally: Tally, chance: random.Random
) -> Tally:
    def stop(command: Command, case: str) -> Finished:
        time.sleep(chance.uniform(0.02, 1.0) * calm.seconds)
        command.send(signal.SIGKILL)
        return command.wait()

    return _stopped(calm, place, number, tally, stop, is_orderly=False)


def _asked_to_end(
    calm: Undisturbed, place: Path, number: int, tally: Tally, chance: random.Random
) -> Tally:
    def stop(command: Command, case: str) -> Finished:
        time.sleep(chance.uniform(0.02, 1.0) * calm.seconds)
        command.send(signal.SIGTERM)
        done = command.wait(60)
        if done.code == 143 and "Interrupted by SIGTERM." not in done.stderr:
            tally.faults.append(f"{case}: says nothing of SIGTERM: {done.stderr[-200:]}")
        return done

    return _stopped(calm, place, number, tally, stop, is_orderly=True)


def _stopped(
    calm: Undisturbed,
    place: Path,
    number: int,
    tally: Tally,
    stop: Callable[[Command, str], Finished],
    *,
    is_orderly: bool,
) -> Tally:
    for count in range(number):
        clear(place)
        tally.cases += 1
        case = f"case {count}"
        done = stop(Command(calm.writer.words, place), case)
        tally.add(done, case)
        until = time.monotonic() + 30
        while (alive := living_children(place)) and time.monotonic() < until:
            time.sleep(0.1)
        if alive:
            tally.add_left(f"{case}: processes {alive}")
        is_whole = done.code in (0, 1)
        found = [] if is_whole or not is_orderly else _temporary(place)
        if found:
            tally.add_left(f"{case}, exit code {done.code}: {', '.join(found)}")
        if not is_whole:
            _again(calm, place, tally, case)
    tally.say()
    return tally


def _temporary(place: Path) -> list[str]:
    """Return what a command that ends in order may not leave: checkpoints are wanted."""
    return [name for name in leftovers(place) if not name.endswith("checkpoint")]


def _again(calm: Undisturbed, place: Path, tally: Tally, case: str) -> None:
    """Run the command once more: it must come to the end that it would have had."""
    done = run(calm.writer.words, place)
    tally.add(done, f"{case}, run again")
    took_place = done.code == 2 and "must be new or empty" in done.stderr  # all but its exit
    if done.code not in (0, 1) and not took_place:
        tally.faults.append(f"{case}, run again: exit code {done.code}: {done.stderr[-300:]}")
    if results(calm.writer, place) != calm.results:
        tally.add_wrong(f"{case}, run again")
    if found := leftovers(place):
        tally.add_left(f"{case}, run again: {', '.join(found)}")


def _cut_short(
    calm: Undisturbed, place: Path, number: int, tally: Tally, chance: random.Random
) -> Tally:
    for count in range(number):
        clear(place)
        tally.cases += 1
        # Evenly over the sizes' digits: small files fail as often as large ones.
        most = int(calm.largest ** chance.uniform(0, 1)) - 1
        case = f"case {count}, files of at most {most:,} bytes"
        done = run(calm.writer.words, place, largest_file=most)
        tally.add(done, case)
        if done.code == 2 and "file too large" not in done.stderr.lower():
            tally.faults.append(f"{case}: doesn't say why: {done.stderr[-300:]}")
        if done.code == 2 and "reading or writing failed" in done.stderr:
            tally.faults.append(f"{case}: doesn't name the file: {done.stderr[-300:]}")
        if done.code in (0, 1):
            if results(calm.writer, place) != calm.results:
                tally.add_wrong(case)
            continue
        if found := _temporary(place):
            tally.add_left(f"{case}: {', '.join(found)}")
        _again(calm, place, tally, case)
    tally.say()
    return tally
