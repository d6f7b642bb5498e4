from __future__ import annotations

import pytest

from drupe.errors import InputError
from drupe.labels.review.answers import (
    answers_file,
    open_log,
    read_all_answers,
    read_answers,
    standing,
)
from review_files import answer, small_queue


@pytest.fixture
def queue(tmp_path):
    return small_queue(tmp_path / "crops")


def test_answers_are_read_as_they_were_given(tmp_path, queue) -> None:
    first, second = (one.id for one in queue.showings[:2])
    given = [
        answer(queue, first, "good"),
        answer(queue, first, None),
        answer(queue, first, "defect", type="stem"),
        answer(queue, second, "bad"),
    ]
    with open_log(tmp_path, "ann") as log:
        for one in given[:3]:
            log.append(one)
            assert read_answers(answers_file(tmp_path, "ann"), queue)[-1] == one
    with open_log(tmp_path, "ann") as log:
        log.append(given[3])
    found = read_answers(answers_file(tmp_path, "ann"), queue)
    assert list(found) == given
    assert standing(found) == {first: given[2], second: given[3]}
    assert list(standing([*given, answer(queue, second, None)])) == [first]


def test_a_line_cut_off_at_any_byte_costs_that_line_alone(tmp_path, queue) -> None:
    path = answers_file(tmp_path, "ann")
    with open_log(tmp_path, "ann") as log:
        log.append(answer(queue, queue.showings[0].id, "good"))
        whole = path.read_bytes()
        log.append(answer(queue, queue.showings[1].id, "bad"))
    both = path.read_bytes()
    for length in range(len(whole), len(both)):
        path.write_bytes(both[:length])
        assert len(read_answers(path, queue)) == 1
        with open_log(tmp_path, "ann") as log:
            log.append(answer(queue, queue.showings[1].id, "bad"))
        assert path.read_bytes() == both


def test_two_processes_cannot_answer_for_one_reviewer(tmp_path, queue) -> None:
    with open_log(tmp_path, "ann"):
        with pytest.raises(InputError, match="another process is taking the answers of ann"):
            open_log(tmp_path, "ann").__enter__()
        with open_log(tmp_path, "bob"):
            pass


@pytest.mark.parametrize("name", ["../x", "a/b", "é ü", "a.b", "..", "CON", '"><script>'])
def test_a_name_never_leads_out_of_the_folder(tmp_path, queue, name) -> None:
    path = answers_file(tmp_path, name)
    assert path.parent == tmp_path / "answers"
    with open_log(tmp_path, name) as log:
        log.append(answer(queue, queue.showings[0].id, "good", reviewer=name))
    assert list(read_all_answers(tmp_path, queue)) == [name]


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 61])
def test_no_name_is_refused(tmp_path, name) -> None:
    with pytest.raises(InputError, match="--reviewer: must be a name"):
        open_log(tmp_path, name).__enter__()


def test_every_wrong_line_is_named(tmp_path, queue) -> None:
    good = answer(queue, queue.showings[0].id, "good")
    wrong = [
        "{",
        good.model_copy(update={"review": "other"}).model_dump_json(),
        good.model_copy(update={"showing": "other"}).model_dump_json(),
        good.model_copy(update={"reviewer": "bob"}).model_dump_json(),
        good.model_copy(update={"type": "stem"}).model_dump_json(),
        good.model_dump_json().replace('"good"', '"fine"'),
        good.model_dump_json().replace("1.5", "-1"),
    ]
    path = tmp_path / "all.jsonl"
    path.write_text("\n".join([good.model_dump_json(), *wrong, ""]), encoding="utf-8")
    with pytest.raises(InputError) as refused:
        read_answers(path, queue)
    text = str(refused.value)
    expected = ("Invalid JSON", "got one of other", "about a showing", "reviewer 'ann'")
    expected += ("pit, stem", "judgement: Input should be", "seconds: Input should be")
    for line, words in enumerate(expected, 2):
        assert f"line {line}: " in text
        assert words in text


def test_answers_from_elsewhere_join_and_nobody_counts_twice(tmp_path, queue) -> None:
    showing = queue.showings[0].id
    with open_log(tmp_path, "ann") as log:
        log.append(answer(queue, showing, "good"))
    file = tmp_path / "mailed.jsonl"
    file.write_text(answer(queue, showing, "defect", "bob").model_dump_json() + "\n")
    found = read_all_answers(tmp_path, queue, [file])
    assert {name: held[showing].judgement for name, held in found.items()} == {
        "ann": "good",
        "bob": "defect",
    }
    with pytest.raises(InputError, match="must be of another reviewer"):
        read_all_answers(tmp_path, queue, [file, file])
