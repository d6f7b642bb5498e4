from __future__ import annotations

from pathlib import Path

import pytest

from drupe.data.fixes import Fix, read_fix_list, write_fix_list
from drupe.data.label_history import ORIGINAL, find_revision, read_history
from drupe.data.naming import Naming
from drupe.data.overlay import (
    active_fixes,
    apply_fixes,
    clear_fixes,
    find_fixes,
    history_folder,
    restore_fixes,
)
from drupe.errors import InputError
from drupe.labels.review.answers import open_log
from drupe.labels.review.application import apply_review, reviewed_rates
from drupe.labels.review.decisions import decide
from drupe.labels.review.estimates import estimate_noise, estimate_rates
from drupe.labels.review.preparation import open_queue
from drupe.labels.review.queue import ReviewQueue, draw_queue
from review_files import CLASSES, answer, nominees, request, write_crops

JUDGED = {"clean": "good", "pit": "defect"}


@pytest.fixture
def review(tmp_path: Path) -> tuple[ReviewQueue, Path, Path, Path]:
    """Return a queue of 40 pictures in three splits, its folder, the crops and a store."""
    root = tmp_path / "crops"
    drawn = nominees(root, write_crops(root, 40), splits=3)
    queue = draw_queue(drawn, str(root), CLASSES, request(9, 12, 4))
    queue.write(tmp_path / "review")
    return queue, tmp_path / "review", root, tmp_path / "store"


def say(queue, folder, reviewer, changes=None, only=None):
    """Answer as labelled, save at items with ``changes``; ``only`` some items."""
    with open_log(folder, reviewer) as log:
        for one in queue.showings:
            if only is not None and one.item not in only:
                continue
            judgement = JUDGED[queue.items[one.item].label]
            log.append(answer(queue, one.id, (changes or {}).get(one.item, judgement), reviewer))


def as_labelled(queue):
    return {
        one.id: answer(queue, one.id, JUDGED[queue.items[one.item].label]) for one in queue.showings
    }


def other(queue, item: int) -> str:
    return {"clean": "defect", "pit": "good"}[queue.items[item].label]


@pytest.mark.parametrize(
    ("votes", "majority", "unanimous"),
    [
        (("good",), "good", "good"),
        (("good", "good", "defect"), "good", "undecided"),
        (("good", "defect"), "undecided", "undecided"),
        (("good", "defect", "bad"), "undecided", "undecided"),
        (("unclear", "unclear", "good"), "unclear", "undecided"),
        (("good", "good", "defect", "defect"), "undecided", "undecided"),
        (("bad", "bad", "bad"), "bad", "bad"),
        ((), "waiting", "waiting"),
    ],
)
def test_votes_become_a_decision(review, votes, majority, unanimous) -> None:
    queue, *_ = review
    names = ("ann", "bob", "eve", "zoe")
    answers = {
        name: {one.id: answer(queue, one.id, vote, name) for one in queue.showings if one.item == 2}
        for name, vote in zip(names, votes, strict=False)
    }
    assert decide(queue, answers, "majority")[2].outcome == majority
    assert decide(queue, answers, "unanimous")[2].outcome == unanimous


def test_who_contradicts_himself_cannot_tell(review) -> None:
    queue, *_ = review
    item = next(one.item for one in queue.showings if one.is_repeat)
    looks = [one for one in queue.showings if one.item == item]
    given = {one.id: answer(queue, one.id, ("bad", "good")[one.is_repeat]) for one in looks}
    assert decide(queue, {"ann": given}, "majority")[item].outcome == "unclear"


def test_what_was_found_becomes_fixes_with_who_when_and_why(review) -> None:
    queue, folder, root, store = review
    say(queue, folder, "ann", {0: other(queue, 0), 12: other(queue, 12), 3: "bad", 4: "unclear"})
    planned = apply_review(folder, "majority", store, dry_run=True)
    assert planned.applied is None
    assert find_fixes(root, store).all == ()

    done = apply_review(folder, "majority", store)

    assert done.changes.fixes == planned.changes.fixes
    assert done.changes.counts == {
        **dict.fromkeys(("undecided", "waiting", "left_out"), 0),
        **{"confirmed": 17, "relabelled": 2, "excluded": 1, "unclear": 1},
    }
    kept = {fix.path: fix for fix in find_fixes(root, store).all}
    first = kept[queue.items[0].path]
    assert first.origin is not None
    assert first.origin.reviewers == ("ann",)
    assert first.origin.review == queue.id
    assert first.origin.at.startswith("2026-01-02")
    assert first.origin.split == queue.items[0].split
    assert kept[queue.items[3].path].action == "exclude"
    causes = {path: fix.origin.cause for path, fix in kept.items() if fix.origin}
    assert causes[queue.items[0].path] == "suspect"
    assert causes[queue.items[12].path] == "control"
    again = apply_review(folder, "majority", store)
    assert again.changes.fixes == ()


def test_where_all_of_a_split_was_looked_at_nothing_was_picked(tmp_path) -> None:
    root = tmp_path / "crops"
    drawn = nominees(root, write_crops(root, 20))
    queue = draw_queue(drawn, str(root), CLASSES, request(5, 99, 0))
    queue.write(tmp_path / "review")
    say(queue, tmp_path / "review", "ann", {0: other(queue, 0)})
    done = apply_review(tmp_path / "review", "majority", tmp_path / "store")
    assert [fix.origin.cause for fix in done.changes.fixes if fix.origin] == ["all"]
    # One picture that nobody has judged, and it is no longer all of them.
    say(queue, tmp_path / "review", "bob", {1: other(queue, 1)}, only=[1])
    open_one = apply_review(tmp_path / "review", "majority", tmp_path / "other", dry_run=True)
    assert {fix.origin.cause for fix in open_one.changes.fixes if fix.origin} == {"suspect"}


def test_copies_are_changed_alike_and_moved_pictures_found(review) -> None:
    queue, folder, root, store = review
    item = queue.items[0]
    content = (root / item.path).read_bytes()
    (root / item.label / "copy.png").write_bytes(content)
    (root / queue.items[1].path).rename(root / queue.items[1].label / "moved.png")
    (root / queue.items[2].path).unlink()
    say(queue, folder, "ann", {n: other(queue, n) for n in range(3)})
    done = apply_review(folder, "majority", store)
    changed = {fix.path for fix in done.changes.fixes}
    assert changed == {item.path, f"{item.label}/copy.png", f"{queue.items[1].label}/moved.png"}
    assert done.changes.gone == (queue.items[2].path,)


def test_types_of_defects_are_labels_where_the_folder_has_them(tmp_path) -> None:
    root, store = tmp_path / "crops", tmp_path / "store"
    paths = write_crops(root, 12)
    (root / "stem").mkdir()
    for path in paths[:4:2]:
        (root / path).rename(root / path.replace("pit/", "stem/"))
    naming = Naming(good=("clean",))
    wanted = request(0, 99, 0, types=("pit", "stem", "rot"))
    queue = open_queue(tmp_path / "review", root, None, wanted, store, naming=naming)
    assert queue.classes == ("clean", "defect")
    clean = [i for i, one in enumerate(queue.items) if one.label == "clean"]
    assert len(clean) == 6
    with open_log(tmp_path / "review", "ann") as log:
        for showing in queue.showings:
            judged, type = ("good" if showing.item in clean else "defect"), ""
            if showing.item in clean[:3]:
                judged, type = "defect", ("stem", "rot", "")[clean.index(showing.item)]
            log.append(answer(queue, showing.id, judged, type=type))
    done = apply_review(tmp_path / "review", "majority", store)
    change_of = {fix.path: fix.value for fix in done.changes.fixes}
    assert [change_of[queue.items[item].path] for item in clean[:3]] == ["stem", "defect", "defect"]
    assert len(change_of) == 3
    assert apply_review(tmp_path / "review", "majority", store).changes.fixes == ()


def test_every_state_has_a_name_and_can_come_back(review, tmp_path) -> None:
    queue, folder, root, store = review
    write_fix_list(tmp_path / "list.csv", [Fix(queue.items[8].path, "exclude", reason="blur")])
    apply_fixes(root, store, tmp_path / "list.csv")
    say(queue, folder, "ann", {0: other(queue, 0)})
    apply_review(folder, "majority", store)
    clear_fixes(root, store)
    kept = history_folder(root, store)
    history = read_history(kept)
    assert [len(one.fixes) for one in history] == [0, 1, 2, 0]
    assert [one.name for one in history].count(ORIGINAL) == 2
    assert "list.csv" in history[1].why
    assert f"review {queue.id} by ann (majority)" in history[2].why

    restore_fixes(root, store, find_revision(kept, "2").fixes, "back to 2")

    now = find_fixes(root, store)
    assert now.revision == history[2].name == read_history(kept)[-1].name
    assert {fix.origin is not None for fix in now.all} == {True, False}
    earlier = active_fixes(root, store, history[1].name[:6])
    assert earlier is not None
    assert len(earlier.matched([], []).all) == 1
    moved = history_folder(root.parent / "elsewhere", store)
    assert find_revision(moved, history[2].name).fixes == history[2].fixes
    for wrong in ("9", "abc", "ffffffffffff"):
        with pytest.raises(InputError, match="must be a revision's number or name"):
            find_revision(kept, wrong)


def test_what_somebody_else_left_out_stays_out(review, tmp_path) -> None:
    queue, folder, root, store = review
    say(queue, folder, "ann", {1: "bad"})
    apply_review(folder, "majority", store)
    write_fix_list(tmp_path / "list.csv", [Fix(queue.items[8].path, "exclude", reason="a copy")])
    apply_fixes(root, store, tmp_path / "list.csv")
    say(queue, folder, "bob", only=[1, 8])
    say(queue, folder, "eve", only=[1, 8])
    done = apply_review(folder, "majority", store)
    assert done.changes.counts["left_out"] == 1
    # What the same review left out comes back when the votes change.
    assert [(fix.path, fix.action) for fix in done.changes.fixes] == [
        (queue.items[1].path, "relabel")
    ]


def test_a_mark_stays_when_a_list_says_the_same(review, tmp_path) -> None:
    queue, folder, root, store = review
    say(queue, folder, "ann", {0: other(queue, 0)})
    apply_review(folder, "majority", store)
    write_fix_list(tmp_path / "same.csv", find_fixes(root, store).all)
    assert read_fix_list(tmp_path / "same.csv")[0].origin is None
    apply_fixes(root, store, tmp_path / "same.csv")
    (fix,) = find_fixes(root, store).all
    assert fix.origin is not None
    assert fix.origin.cause == "suspect"


def test_noise_is_estimated_with_design_weights(review) -> None:
    queue, folder, _, store = review
    control = next(i for i, one in enumerate(queue.items) if one.role == "control")
    stratum = queue.stratum_of(queue.items[control])
    say(queue, folder, "ann", {0: other(queue, 0), control: other(queue, control)})
    noise = apply_review(folder, "majority", store, dry_run=True).noise
    overall = next(one for one in noise if one.split is None)
    assert overall.items == 40
    assert overall.looked_at == 21
    assert overall.wrong.estimate == pytest.approx(1 + 1 / stratum.probability)
    assert overall.wrong.low >= 2
    of_it = next(one for one in noise if (one.split, one.label) == (stratum.split, stratum.label))
    assert of_it.wrong.low >= 1


def test_what_nobody_has_judged_widens_the_interval(review) -> None:
    queue, *_ = review
    given = as_labelled(queue)
    whole = estimate_noise(queue, decide(queue, {"ann": given}, "majority"))
    half = dict(list(given.items())[:10])
    part = estimate_noise(queue, decide(queue, {"ann": half}, "majority"))
    assert all(b.wrong.high >= a.wrong.high for a, b in zip(whole, part, strict=True))
    assert part[-1].wrong.high > whole[-1].wrong.high
    assert part[-1].wrong.low == 0


def test_rates_count_what_was_found_on_both_sides_of_the_threshold(tmp_path) -> None:
    paths = [f"{'clean' if i % 2 else 'pit'}/{i}.png" for i in range(40)]
    drawn = [
        one.__class__(**{**one.__dict__, "split": "test", "score": index / 40})
        for index, one in enumerate(nominees(None, paths))
    ]
    queue = draw_queue(drawn, "crops", CLASSES, request(0, 99, 0))
    given = as_labelled(queue)
    rates = estimate_rates(queue, decide(queue, {"ann": given}, "majority"), 0.5)
    assert rates.recall.estimate == rates.recall.low == rates.recall.high == 0.5
    assert rates.clean_yield.estimate == 0.5
    bare = draw_queue(nominees(None, paths), "crops", CLASSES, request())
    with pytest.raises(InputError, match="--threshold: needs a review of a ranking"):
        estimate_rates(bare, decide(bare, {}, "majority"), 0.5)


def test_wrong_input_is_named(review, tmp_path) -> None:
    queue, folder, root, store = review
    with pytest.raises(InputError, match="must hold answers, got none"):
        apply_review(folder, "majority", store)
    say(queue, folder, "ann", only=[0])
    with pytest.raises(InputError, match="--data DIR"):
        apply_review(folder, "majority", store, data=tmp_path / "gone")
    root.rename(tmp_path / "moved")
    assert apply_review(folder, "majority", store, data=tmp_path / "moved").changes.fixes == ()
    (tmp_path / "moved" / "clean").rename(tmp_path / "moved" / "fine")
    with pytest.raises(InputError, match="must be clean, pit"):
        apply_review(folder, "majority", store, data=tmp_path / "moved")
    with pytest.raises(InputError, match="--threshold: must be in"):
        reviewed_rates(folder, "majority", 2.0)


def test_a_review_of_a_table_becomes_fixes_of_the_table(review) -> None:
    queue, folder, root, store = review
    table = root / "crops.csv"
    rows = [
        f"{path.relative_to(root).as_posix()},{path.parent.name}"
        for path in sorted(root.rglob("*.png"))
    ]
    table.write_text("\n".join(["path,label", *rows]) + "\n")
    say(queue, folder, "ann", {0: other(queue, 0)})
    done = apply_review(folder, "majority", store, data=table)
    assert [fix.path for fix in done.changes.fixes] == [queue.items[0].path]
    assert [fix.path for fix, _ in find_fixes(table, store).honoured] == [queue.items[0].path]
    assert len(read_history(history_folder(table, store))) == 2
