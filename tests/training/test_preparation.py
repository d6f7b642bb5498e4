from __future__ import annotations

import io
import shutil

import numpy as np
import pytest

from drupe.data.fixes import Fix, FixOrigin
from drupe.data.overlay import add_fixes, clear_fixes
from drupe.derived import write_arrays
from drupe.errors import InputError
from drupe.evaluation.predictions_csv import read_predictions
from drupe.runs.record import read_record
from drupe.training.preparation import prepare_data, with_named_labels
from drupe.training.run import train_run
from drupe.training.saved import evaluate_run


def test_damaged_groups_are_found_anew_and_that_said(tiny, store, caplog):
    """An array of the right form with other groups would let copies cross into test."""
    config = tiny()
    whole = prepare_data(config, store)
    cached = whole.dataset.cache / "groups.npz"
    content = cached.read_bytes()

    def array(values) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, values)
        return buffer.getvalue()

    archive = io.BytesIO()
    np.savez(archive, groups=np.arange(len(whole.groups), dtype=np.int32))
    flipped = bytearray(content)
    flipped[content.index(whole.groups.tobytes()) + 8] ^= 1
    damages = [b"", b"garbage", b"PK\x03\x04", content[:-8], archive.getvalue(), bytes(flipped)]
    damages += [array(whole.groups[:-1]), array(whole.groups.astype(float)), array(np.int32(1))]
    for damaged in damages:
        cached.write_bytes(damaged)
        caplog.clear()
        assert np.array_equal(prepare_data(config, store).groups, whole.groups), damaged[:20]
        assert [line.startswith(f"{cached}: ") for line in caplog.messages] == [True]
    caplog.clear()
    assert np.array_equal(prepare_data(config, store).groups, whole.groups)
    assert caplog.messages == []


def test_groups_of_other_items_are_found_anew(tiny, store):
    config = tiny()
    whole = prepare_data(config, store)
    cached = whole.dataset.cache / "groups.npz"
    other = np.zeros_like(whole.groups)
    write_arrays(cached, {"version": 1, "items": "of another pack"}, {"groups": other})

    assert np.array_equal(prepare_data(config, store).groups, whole.groups)


def test_groups_that_an_earlier_version_kept_are_removed(tiny, store):
    config = tiny()
    cache = prepare_data(config, store).dataset.cache
    (cache / "groups.npz").unlink()
    np.save(cache / "groups-v1.npy", np.zeros(3, np.int32))

    prepare_data(config, store)
    assert [path.name for path in cache.glob("groups*")] == ["groups.npz"]


def test_groups_are_kept_together_and_said_to_be(tiny, crops, store, tmp_path) -> None:
    shutil.copytree(crops / "train", tmp_path / "set")
    data = {"root": str(tmp_path / "set"), "group": r"/(\d+)\d\.png$", "split_seed": 1}
    plain, split = (
        prepare_data(tiny(data={**data, "split_by": by}), store) for by in ("item", "group")
    )
    assert plain.record.notes == []
    (note,) = split.record.notes
    assert note.startswith("split by group: fit: ")
    found = {
        side: {split.dataset.origins[index] for index in getattr(split.split, side)}
        for side in ("fit", "calibration", "test")
    }
    assert sum(map(len, found.values())) == len(set(split.dataset.origins))
    names, items = ", ".join(sorted(found["test"])), len(split.split.test)
    assert note.endswith(f"test: {names} ({items} items)")


def test_to_keep_groups_together_they_must_be_known(tiny, store) -> None:
    with pytest.raises(InputError, match=r"data\.split_by: group needs to know the groups"):
        prepare_data(tiny(data={"split_by": "group"}), store)


def test_a_record_counts_the_labels_that_a_model_had_picked(tiny, crops, tmp_path):
    config, store = tiny(), tmp_path / "store"
    before = prepare_data(config, store)
    paths, split = before.dataset.paths, before.split

    def fix(index: int, cause: str, action: str = "relabel", side: str = "") -> Fix:
        other = before.dataset.classes[int(not before.dataset.is_defect[index])]
        origin = FixOrigin("0" * 12, ("ann",), "2026-01-01T00:00:00+00:00", cause, side)
        value = other if action == "relabel" else ""
        return Fix(paths[index], action, value, origin=origin)

    fixes = [
        fix(split.fit[0], "suspect"),
        fix(split.calibration[0], "suspect"),
        fix(split.calibration[1], "control"),
        fix(split.test[0], "all"),
        fix(split.test[1], "suspect"),
        fix(split.test[2], "suspect"),
        fix(split.calibration[2], "suspect", "exclude", "calibration"),
    ]
    add_fixes(crops, store, fixes, source="review", why="a review")
    data = prepare_data(config, store)
    record = data.record.fixes
    assert record.suspects == {"fit": 1, "calibration": 2, "test": 2}
    assert record.revision == data.dataset.fixed.revision != "original"
    assert record.doubt("calibration").startswith("2 calibration labels were changed because")
    unknown = fix(split.calibration[3], "suspect", "exclude")
    add_fixes(crops, store, [unknown], source="review", why="another")
    assert prepare_data(config, store).record.fixes.suspects == {
        "fit": 1,
        "calibration": 3,
        "test": 3,
    }


def test_an_earlier_state_of_the_labels_can_be_used(tiny, crops, tmp_path):
    store = tmp_path / "store"
    first = prepare_data(tiny(), store)
    path = first.dataset.paths[0]
    add_fixes(crops, store, [Fix(path, "exclude")], source="list", why="one")
    clear_fixes(crops, store)
    assert prepare_data(tiny(), store).dataset.fingerprint == first.dataset.fingerprint
    pinned = prepare_data(tiny(data={"labels": "1"}), store)
    assert path not in pinned.dataset.paths
    add_fixes(crops, store, [Fix(path, "exclude")], source="list", why="again")
    original = prepare_data(tiny(data={"labels": "original"}), store)
    assert original.dataset.fingerprint == first.dataset.fingerprint
    assert original.record.fixes.revision == "original"
    named = tiny(data={"labels": pinned.record.fixes.revision})
    assert prepare_data(named, store).dataset.fingerprint == pinned.dataset.fingerprint
    assert with_named_labels(tiny(data={"labels": "1"}), store) == named
    assert with_named_labels(tiny(), store) == tiny()
    assert named.identity("d") == tiny().identity("d")
    with pytest.raises(InputError, match="labels: must be a revision"):
        prepare_data(tiny(data={"labels": "77"}), store)


def test_a_run_is_judged_again_on_the_labels_that_it_learnt(tiny, crops, tmp_path):
    store, run = tmp_path / "store", tmp_path / "run"
    config = tiny(training={"epochs": 1})
    train_run(config, run, store)
    first = prepare_data(config, store)
    path = first.dataset.paths[first.split.test[0]]
    add_fixes(crops, store, [Fix(path, "exclude")], source="list", why="one")
    with pytest.raises(InputError, match="other images, labels or fixes"):
        evaluate_run(run, store)
    judged = evaluate_run(run, store, labels="original")
    assert judged.test.images == len(first.split.test)
    record = read_record(run)
    assert record.data.fixes.revision == "original"


def test_weights_of_a_table_change_what_is_learnt(tiny, crops, store, tmp_path) -> None:
    """Defects that hardly count are hardly learnt."""
    lines = ["path,label,split,weight"]
    for path in sorted(crops.rglob("*.png")):
        split, label = path.relative_to(crops).parts[:2]
        lines.append(f"{path},{label},{split},{1e-6 if label == 'cherry_pit' else 1}")
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(lines) + "\n")
    training = {"learning_rate": 1e-2, "epochs": 4}
    weighted, plain = tmp_path / "weighted", tmp_path / "plain"
    train_run(tiny(data={"root": str(table)}, training=training), weighted, store)
    train_run(tiny(training=training), plain, store)
    scores = [
        read_predictions(run / "predictions" / "test.csv").logits.mean()
        for run in (weighted, plain)
    ]
    assert scores[0] < scores[1] - 0.1
    told = read_record(weighted).data.notes
    assert told == [
        "weights 1e-06 to 1 in training; calibration and test count every item once",
    ]
