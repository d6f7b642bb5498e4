"""What a scripted reviewer does on the page of a review."""

from __future__ import annotations

from typing import Any

import numpy as np

from drupe.labels.review.queue import ReviewQueue, order_for


def wait_for(page: Any, count: int) -> None:
    """Wait until so many pictures are answered and the next one is there."""
    page.wait_for_selector(f"body[aria-busy=false][data-answered='{count}']")


def press(page: Any, key: str, then: int) -> None:
    """Press a key that makes so many pictures answered."""
    page.keyboard.press(key)
    wait_for(page, then)


def judge_all(
    page: Any, queue: ReviewQueue, wrong: set[str], random: np.random.Generator
) -> tuple[dict[str, str], set[str]]:
    """Judge every picture by the truth, but for 5 % of the answers, as ``ann``.

    ``wrong``: paths whose label is wrong. Returns the judgement of each showing by its id, and the
    paths that were judged wrongly.
    """
    pressed, slips = {}, set()
    for count, showing in enumerate(order_for(queue, "ann"), 1):
        item = queue.items[showing.item]
        is_clean = (item.label == queue.classes[0]) != (item.path in wrong)
        if random.random() < 0.05:
            slips.add(item.path)
            is_clean = not is_clean
        pressed[showing.id] = "good" if is_clean else "defect"
        press(page, pressed[showing.id][0], count)
    return pressed, slips
