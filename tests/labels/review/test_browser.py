"""The page of a review in Chromium, driven by Playwright where it is installed."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from browser import PATIENCE, needs_browser
from drupe.data.discover import discover
from drupe.data.overlay import active_fixes
from drupe.data.synthetic.generation import synthesise
from drupe.labels.ranking import RankedLabel, write_ranking
from drupe.labels.review.answers import answers_file, read_answers, standing
from drupe.labels.review.application import apply_review
from drupe.labels.review.page import lone_page
from drupe.labels.review.pictures import ReviewPictures
from drupe.labels.review.preparation import open_queue
from drupe.labels.review.queue import ReviewQueue, draw_queue, order_for
from review_files import nominees, request, small_queue, write_crops
from review_page import judge_all, press, wait_for

pytestmark = [pytest.mark.thorough, needs_browser]
HOSTILE = '"><img src=x onerror="document.title=`stolen`">'
PROGRESS = re.compile(r"^(\d+) of (\d+)")


@pytest.fixture
def open_page(chromium: Any) -> Any:
    """Open an address; whatever the page logs, or asks of any other place, fails the test."""
    problems: list[str] = []
    contexts = []

    def opened(where: str, **options: Any) -> Any:
        context = chromium.new_context(accept_downloads=True, **options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda asked: (
                asked.url.startswith((where, "data:", "blob:")) or problems.append(asked.url)
            ),
        )
        page.goto(where)
        page.wait_for_selector("body[aria-busy=false]")
        return page

    yield opened
    for context in contexts:
        for page in context.pages:
            assert page.title() == "Label review · Drupe"
        context.close()
    assert problems == []


def answered(page: Any) -> int:
    found = PROGRESS.match(page.inner_text("#progress"))
    assert found
    return int(found[1])


def hostile_queue(root: Path) -> ReviewQueue:
    """Return a queue whose files, classes, types and reasons would run if they were HTML."""
    paths = write_crops(root, 12)
    for index in (2, 3):
        name = f"{paths[index].partition('/')[0]}/{HOSTILE.replace('/', '')}{index}.png"
        (root / paths[index]).rename(root / name)
        paths[index] = name
    drawn = draw_queue(
        nominees(root, paths),
        str(root),
        (f"clean{HOSTILE}", "pit"),
        request(12, 0, 2, types=("stem", HOSTILE)),
    )
    return drawn.model_copy(
        update={"items": tuple(i.model_copy(update={"reason": HOSTILE}) for i in drawn.items)}
    )


def test_by_keyboard_alone_from_the_first_picture_to_the_end(tmp_path, serve, open_page) -> None:
    root = tmp_path / "crops"
    queue = hostile_queue(root)
    with serve(queue, root, tmp_path) as where:
        page = open_page(where)
        total = len(queue.showings)
        for count, key in enumerate("gdcb", 1):
            press(page, key, count)
        page.keyboard.press("t")
        press(page, "2", 5)
        press(page, "u", 4)
        for count in range(5, total + 1):
            press(page, "g", count)
        page.wait_for_selector("#rows tr")
        assert page.locator("#end img[src]").count() >= 2
        assert HOSTILE in page.inner_text("#rows")
    held = standing(read_answers(answers_file(tmp_path, "ann"), queue))
    order = order_for(queue, "ann")
    said = [held[one.id].judgement for one in order]
    assert said == ["good", "defect", "unclear", "bad", *["good"] * (total - 4)]
    events = read_answers(answers_file(tmp_path, "ann"), queue)
    assert (events[4].judgement, events[4].type, events[5].judgement) == ("defect", HOSTILE, None)
    assert all(0 < one.seconds < 60 for one in held.values())
    assert all(one.seen == queue.items[s.item].sha256 for s in order for one in [held[s.id]])


def test_the_page_knows_nothing_of_labels_before_the_end(tmp_path, serve, open_page) -> None:
    root = tmp_path / "crops"
    queue = small_queue(root)
    with serve(queue, root, tmp_path) as where:
        page = open_page(where)
        bodies: list[str] = []
        page.on(
            "response",
            lambda got: "picture/" in got.url or bodies.append(f"{got.url} {got.text()}"),
        )
        page.reload()
        wait_for(page, 0)
        for count in range(1, 6):
            press(page, "c", count)
        seen = " ".join([*bodies, page.content()])
    assert "seconds_left" in seen
    for item in queue.items:
        assert item.path not in seen
        assert item.sha256 not in seen
        assert item.path.partition("/")[2] not in seen
    for word in ("suspect", "other class", "is_repeat"):
        assert word not in seen


def test_zoom_contrast_and_channels_change_what_is_drawn(tmp_path, serve, open_page) -> None:
    root = tmp_path / "crops"
    queue = small_queue(root)
    item = queue.items[order_for(queue, "ann")[0].item]
    pixels = np.asarray(Image.open(root / item.path)).astype(int)
    drawn = "Array.from(picture.getContext('2d').getImageData(0, 0, 24, 24).data)"
    with serve(queue, root, tmp_path) as where:
        page = open_page(where)
        page.wait_for_function("document.getElementById('picture').width === 24")

        def shown() -> Any:
            return np.array(page.evaluate(drawn)).reshape(24, 24, 4)[..., :3]

        assert np.array_equal(shown(), pixels)
        for channel in range(3):
            page.keyboard.press("v")
            assert np.array_equal(shown(), np.repeat(pixels[..., channel : channel + 1], 3, 2))
        page.keyboard.press("v")
        page.locator("#brightness").fill("1")
        assert np.array_equal(shown(), np.minimum(2 * pixels, 255))
        page.locator("#contrast").fill("1")
        assert np.array_equal(shown(), np.clip((2 * pixels - 128) * 2 + 128, 0, 255))
        before = page.inner_text("#scale")
        page.keyboard.press("+")
        assert page.inner_text("#scale") != before
        page.keyboard.press("0")
        assert page.inner_text("#scale") == before
        assert np.array_equal(shown(), pixels)


def test_a_picture_that_is_gone_takes_no_verdict(tmp_path, serve, chromium) -> None:
    root = tmp_path / "crops"
    queue = small_queue(root)
    (root / queue.items[order_for(queue, "ann")[0].item].path).unlink()
    with serve(queue, root, tmp_path) as where:
        page = chromium.new_page()
        page.goto(where)
        page.wait_for_selector("#trouble:not([hidden])")
        assert page.is_disabled(".good")
        page.keyboard.press("g")
        page.keyboard.press("d")
        page.wait_for_timeout(200)
        assert answered(page) == 0
        press(page, "b", 1)
        page.close()


def test_a_dead_server_is_said_and_the_answer_can_be_given_again(tmp_path, serve, chromium) -> None:
    root = tmp_path / "crops"
    queue = small_queue(root)
    with serve(queue, root, tmp_path) as where:
        page = chromium.new_page()
        page.goto(where)
        wait_for(page, 0)
        press(page, "g", 1)
    page.keyboard.press("g")
    page.wait_for_selector("#alert:not([hidden])")
    assert "kept" in page.inner_text("#alert")
    assert answered(page) == 1
    page.close()


def test_the_lone_file_keeps_and_exports_answers(tmp_path, open_page) -> None:
    root = tmp_path / "crops"
    queue = hostile_queue(root)
    file = tmp_path / "review.html"
    text = lone_page(queue, order_for(queue, "bob"), "bob", ReviewPictures(root))
    for secret in ("suspect", 'onerror="document', "is_repeat", "0.5,"):
        assert secret not in text.partition('id="data"')[2].partition("</script>")[0]
    file.write_text(text, encoding="utf-8")
    page = open_page(file.as_uri())
    press(page, "g", 1)
    press(page, "d", 2)
    press(page, "u", 1)
    page.reload()
    wait_for(page, 1)
    assert answered(page) == 1
    for count in range(2, len(queue.showings) + 1):
        press(page, "b", count)
    assert "Export" in page.inner_text("#end-text")
    with page.expect_download() as download:
        page.click("#export")
    exported = tmp_path / "answers.jsonl"
    download.value.save_as(exported)
    events = read_answers(exported, queue)
    assert [one.judgement for one in events[:3]] == ["good", "defect", None]
    held = standing(events)
    assert len(held) == len(queue.showings)
    assert {one.reviewer for one in events} == {"bob"}
    assert all(held[s.id].seen == queue.items[s.item].sha256 for s in queue.showings)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_overflows_and_axe_finds_nothing_serious(
    tmp_path, serve, chromium, scheme, width
) -> None:
    axe = pytest.importorskip("axe_playwright_python", reason="pip install axe-playwright-python")
    script = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    root = tmp_path / "crops"
    queue = hostile_queue(root)
    with serve(queue, root, tmp_path) as where:
        # axe is put into the page, which the page's own policy forbids.
        context = chromium.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True
        )
        page = context.new_page()
        page.goto(where)
        wait_for(page, 0)

        def check(state: str) -> None:
            shots = os.environ.get("REVIEW_SHOTS")
            if shots:
                page.screenshot(path=f"{shots}/{state}-{width}-{scheme}.png")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.evaluate(script)
            found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
            serious = [
                (one["id"], one["nodes"][0]["html"])
                for one in found["violations"]
                if one["impact"] in ("serious", "critical")
            ]
            assert serious == [], state

        press(page, "g", 1)
        check("look")
        page.keyboard.press("t")
        check("types")
        page.keyboard.press("Escape")
        for count in range(2, len(queue.showings) + 1):
            press(page, "d", count)
        page.wait_for_selector("#rows tr")
        check("end")
        context.close()


def test_data_in_the_page_ends_no_element(tmp_path) -> None:
    root = tmp_path / "crops"
    queue = hostile_queue(root)
    text = lone_page(
        queue, order_for(queue, "</script><script>alert(1)"), "</script>x", ReviewPictures(root)
    )
    data = text.partition('id="data">')[2].partition("</script>")[0]
    assert json.loads(data)["reviewer"] == "</script>x"
    assert text.count("</script>") == 2


def test_a_scripted_reviewer_with_5_percent_errors_mends_the_labels(
    tmp_path, serve, open_page
) -> None:
    root, store = tmp_path / "crops", tmp_path / "store"
    truth = synthesise(root, images=240, size=48, seed=5, label_noise=0.08)
    wrong = set(truth.label_noise)
    random = np.random.default_rng(5)
    listing = discover(root)
    named = [listing.classes[int(defect)] for defect in listing.is_defect]
    # A model that agrees with the truth more often than not: wrong labels come early, not first.
    confidence = random.beta(2, 1, len(named)) - [0.6 * (p in wrong) for p in listing.paths]
    rows = sorted(zip(confidence, listing.paths, named, strict=True))
    ranking = [
        RankedLabel(rank, path, "fit", label, 0.5, 0.5, 0.0, "unsure")
        for rank, (_, path, label) in enumerate(rows, 1)
    ]
    write_ranking(tmp_path / "labels.csv", ranking)
    wanted = request(40, 40, 10)
    queue = open_queue(tmp_path, root, tmp_path / "labels.csv", wanted, store)
    before = sum(item.path in wrong for item in queue.items if item.role == "suspect")
    assert before >= 8

    with serve(queue, root, tmp_path) as where:
        pressed, slips = judge_all(open_page(where), queue, wrong, random)

    kept = standing(read_answers(answers_file(tmp_path, "ann"), queue))
    assert {name: one.judgement for name, one in kept.items()} == pressed
    done = apply_review(tmp_path, "majority", store)
    twice = {queue.items[one.item].path for one in queue.showings if one.is_repeat}
    (ann,) = done.quality.reviewers
    assert ann.repeated.trials == 10
    assert ann.repeated.successes >= 10 - len(slips & twice)
    mended = active_fixes(root, store)
    assert mended is not None
    relabelled = {fix.path for fix in mended.matched((), ()).all}
    seen = {item.path for item in queue.items}
    assert relabelled - slips == (wrong & seen) - slips
    assert len(wrong ^ relabelled) < len(wrong)
    overall = done.noise[-1]
    # As this reviewer would find them: every slip on a right label is one more.
    assert overall.wrong.low - len(slips) <= len(wrong) <= overall.wrong.high
