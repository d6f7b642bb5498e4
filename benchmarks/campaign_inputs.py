"""Damaged inputs by kind: what each command says to them, and whether its answer is another."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from campaign_place import reset
from campaign_table import Tally
from drupe.deployment.manifest import file_digest, sealed
from forked import Finished, run
from mutations import WORDS, any_arrays, any_bytes, any_json, any_json_line, any_words

Words = tuple[str, ...]
PREDICT: Words = ("predict", "bundle", "crops/val", "--uncertified", "--jsonl", "-")
VERIFY: Words = ("bundle", "verify", "bundle")
OF_A_RUN: tuple[Words, ...] = (
    ("threshold", "run", "--min-recall", "0.8", "--json"),
    ("evaluate", "run", "--json"),
    ("compare", "run", "test.csv", "--json"),
    ("export", "run", "other.bundle"),
    ("train", "tiny.yaml", "--data", "crops", "--out", "run", "--resume"),
    ("ensemble", "run", "run", "--out", "both"),
    ("labels", "rank", "--run", "run"),
)
OF_A_STUDY: tuple[Words, ...] = (
    ("study", "status", "small.yaml", "--data", "crops"),
    ("study", "report", "small.yaml", "--data", "crops"),
    ("study", "run", "small.yaml", "--data", "crops"),
    ("compare", "drupe-store/runs/small/BASE", "drupe-store/runs/small/NEW"),
)
FRESH: Words = ("train", "tiny.yaml", "--data", "crops", "--out", "fresh")


@dataclass(frozen=True)
class Kind:
    """Files that are damaged in one way, and the commands that read them.

    ``truth``: the answer's part that damage may not change in silence.
    """

    name: str
    files: Sequence[str]
    mutate: Callable[[bytes, random.Random], bytes]
    commands: Sequence[Words]
    reseal: bool = False
    truth: Callable[[Path, Finished], object] | None = None


def decisions(_: Path, done: Finished) -> object:
    """Return each image's decision, read from the JSON lines of ``drupe predict``."""
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [(one["path"], one["decision"], one["score"]) for one in lines]


def fresh_predictions(folder: Path, _: Finished) -> object:
    """Return the predictions of the run that was trained anew."""
    return (folder / "fresh" / "predictions" / "test.csv").read_bytes()


RUN_JSON = ("run/run.json", "run/evaluation.json", "run/predictions/duplicates.json")
STUDY_JSON = (
    *("drupe-store/runs/small/protocol.lock.json", "drupe-store/runs/small/verdict.json"),
    *("drupe-store/runs/small/BASE/seed-1/run.json", "drupe-store/audits/*.json"),
    *("drupe-store/runs/small/BASE/seed-1/evaluation.json", "drupe-store/runs/small/*/*.json"),
    *("drupe-store/runs/small/*.json", "drupe-store/runs/small/deviations.json"),
)

KINDS = (
    Kind("experiment", ["tiny.yaml"], any_words, [("train", "tiny.yaml", "--data", "crops")]),
    Kind(
        "study",
        ["small.yaml"],
        any_words,
        [("study", "describe", "small.yaml"), ("study", "check", "small.yaml", "--data", "crops")],
    ),
    Kind(
        "predictions",
        ["test.csv"],
        any_words,
        [
            ("threshold", "test.csv", "--defect", "cherry_pit", "--min-recall", "0.8", "--json"),
            ("compare", "test.csv", "run", "--defect", "cherry_pit", "--json"),
        ],
    ),
    Kind(
        "fix list",
        ["fixes.csv"],
        any_words,
        [
            ("data", "audit", "crops", "--apply", "fixes.csv"),
            ("data", "fixes", "crops"),
        ],
    ),
    Kind(
        "bundle, any byte",
        ["bundle/*"],
        any_bytes,
        [VERIFY, PREDICT],
        truth=decisions,
    ),
    Kind("bundle manifest", ["bundle/bundle.json"], any_json, [VERIFY, PREDICT], reseal=True),
    Kind(
        "bundle arrays",
        ["bundle/golden.npz", "bundle/calibration.npz"],
        any_arrays,
        [VERIFY, PREDICT],
        reseal=True,
    ),
    Kind("bundle frames", ["bundle/frames.json"], any_json, [VERIFY, PREDICT], reseal=True),
    Kind("bundle graph", ["bundle/*.onnx"], any_bytes, [VERIFY, PREDICT], reseal=True),
    Kind("run JSON", RUN_JSON, any_json, OF_A_RUN),
    Kind("run epochs", ["run/metrics.jsonl"], any_json_line, [*OF_A_RUN[3:5], OF_A_RUN[1]]),
    Kind("run settings", ["run/config.yaml", "run/trained-on.txt"], any_words, OF_A_RUN),
    Kind("run predictions", ["run/predictions/*.csv"], any_words, OF_A_RUN),
    Kind("run weights", ["run/model.safetensors"], any_bytes, OF_A_RUN),
    Kind("study JSON", STUDY_JSON, any_json, OF_A_STUDY),
    Kind("study events", ["drupe-store/runs/small/events.jsonl"], any_json_line, OF_A_STUDY),
    Kind(
        "store",
        ["drupe-store/packed/*/*", "drupe-store/manifests/*"],
        any_bytes,
        [FRESH],
        truth=fresh_predictions,
    ),
    Kind(
        "store JSON",
        ["drupe-store/packed/*/pack.json"],
        any_json,
        [FRESH],
        truth=fresh_predictions,
    ),
    Kind(
        "store arrays",
        ["drupe-store/manifests/*.npz"],
        any_arrays,
        [FRESH],
        truth=fresh_predictions,
    ),
    Kind(
        "overlay",
        ["drupe-store/overlays/*"],
        any_json,
        [("data", "fixes", "crops"), ("data", "audit", "crops")],
    ),
    Kind("images", ["crops/val/*/*"], any_bytes, [PREDICT, ("data", "audit", "crops")]),
)


def damage(place: Path, cases: int, seed: int, only: Sequence[str] | None = None) -> list[Tally]:
    """Return what ``cases`` damaged files of each kind led to."""
    tallies = [
        _damaged(kind, place, cases, random.Random(f"{seed} {kind.name}"))
        for kind in KINDS
        if not only or kind.name.startswith(tuple(only))
    ]
    if not only or "overrides".startswith(tuple(only)):
        tallies.append(_overrides(place, cases * 3, random.Random(seed)))
    return tallies


def _damaged(kind: Kind, place: Path, cases: int, chance: random.Random) -> Tally:
    tally = Tally(kind.name)
    reset(place)
    truths = dict(_truths(kind, place))
    for number in range(cases):
        reset(place, crops=kind.name == "images")
        files = sorted({file for pattern in kind.files for file in place.glob(pattern)})
        file = chance.choice([one for one in files if one.is_file()])
        content = file.read_bytes()
        damaged = kind.mutate(content, chance)
        file.write_bytes(damaged)
        if kind.reseal:
            _reseal(place / "bundle", file)
        tally.cases += 1
        for words in kind.commands:
            done = run(words, place)
            case = f"case {number}, {file.relative_to(place)}"
            tally.add(done, case)
            if words in truths and done.code in (0, 1) and damaged != content:
                assert kind.truth is not None
                if kind.truth(place, done) != truths[words]:
                    tally.add_wrong(case)
    reset(place, crops=kind.name == "images")
    tally.say()
    return tally


def _truths(kind: Kind, place: Path) -> Iterator[tuple[Words, object]]:
    """Yield the right answer of each command that gives one."""
    for words in kind.commands if kind.truth else ():
        if words in (PREDICT, FRESH):
            assert kind.truth is not None
            yield words, kind.truth(place, run(words, place))


def _reseal(bundle: Path, file: Path) -> None:
    """Make the manifest agree with a changed file, as whoever made both would."""
    manifest = bundle / "bundle.json"
    try:
        document = json.loads(manifest.read_bytes())
        if file != manifest:
            document["files"][file.name] = file_digest(file.read_bytes())
        manifest.write_text(json.dumps(sealed(document)))
    except (ValueError, AttributeError, UnicodeEncodeError, TypeError):
        return  # it is no manifest any more


def _overrides(place: Path, cases: int, chance: random.Random) -> Tally:
    """Give keys values that they can't have."""
    tally = Tally("overrides")
    keys = ("seeds", "training.epochs", "input.crop", "data.root", "criteria.accuracy", "x..y", "")
    keys += ("model.architecture", "training.learning_rate", "training", "experiments", "study")
    for number in range(cases):
        value = chance.choice([word for word in WORDS if "\0" not in word and word != "\ud800"])
        words = ("study", "describe", "small.yaml", f"{chance.choice(keys)}={value}")
        tally.cases += 1
        tally.add(run(words, place), f"case {number}")
    tally.say()
    return tally
