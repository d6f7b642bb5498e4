from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drupe.data.image_contract import ImageContract
from drupe.line.service.bodies import (
    LONGEST_ITEM,
    Frame,
    RefusedBodyError,
    named_item,
    read_frames_of,
)
from service_files import SIDE, grey, png, raw_headers

CONTRACT = ImageContract(SIDE)
DEEP = ImageContract(SIDE, channels="mono", white_level=4095)
HEAD = b'Content-Disposition: form-data; name="f"; filename="%s"\r\nContent-Type: image/png'


def form(*files: tuple[bytes, bytes], end: bytes = b"--", boundary: bytes = b"b") -> bytes:
    """Return a form's body, as RFC 7578 has it."""
    parts = [
        b"--" + boundary + b"\r\n" + HEAD % name + b"\r\n\r\n" + content + b"\r\n"
        for name, content in files
    ]
    return b"".join(parts) + b"--" + boundary + end


def frames(body: bytes, contract: ImageContract = CONTRACT, most: int = 3, **headers: str):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_frames_of(named, body, contract, "item", most).frames


def parts(body: bytes, most: int = 3):
    return frames(body, most=most, content_type="multipart/form-data; boundary=b")


def raw(image: np.ndarray, contract: ImageContract = CONTRACT, **changed: str):
    headers = {name.lower(): value for name, value in raw_headers(image).items()}
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    return read_frames_of(headers, image.tobytes(), contract, "item", 3).frames


@given(st.lists(st.binary(max_size=80), min_size=1, max_size=3))
def test_files_in_a_form_come_out_as_they_went_in(contents) -> None:
    body = form(*((b"%d" % place, one) for place, one in enumerate(contents)), boundary=b"x" * 30)
    found = frames(body, content_type=f"multipart/form-data; boundary={'x' * 30}")
    assert [frame.content for frame in found] == contents
    assert [frame.item for frame in found] == [str(place) for place in range(len(contents))]


def test_a_files_name_may_hold_any_letters() -> None:
    (frame,) = parts(form(("päivä 1.png".encode(), b"x")))
    assert frame.item == "päivä 1.png"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"no parts", "ended as such"),
        (form((b"a", b"x"), end=b""), "ended as such"),
        (form(), "got none"),
        (b"before" + form((b"a", b"x")), "ended as such"),
        (form((b"", b"x")), "a name of 1 to"),
        (form((b"x" * (LONGEST_ITEM + 1), b"x")), "a name of 1 to"),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--", "a name of 1 to"),
        (b"--b\r\nno end of headers--b--", "ended as such"),
        (b"--b\r\nno end of headers\r\n--b--", "an empty line"),
        (b"--bad\r\n\r\nx\r\n--b--", "an empty line"),
        *((form(*[(b"a", b"x")] * count), "at most 3 images") for count in (4, 5, 9)),
    ],
)
def test_what_is_no_form_of_files_is_refused(body, words) -> None:
    with pytest.raises(RefusedBodyError, match=words):
        parts(body)


@pytest.mark.parametrize("boundary", ["", "; boundary=", f"; boundary={'b' * 71}"])
def test_a_form_without_a_boundary_is_refused(boundary) -> None:
    with pytest.raises(RefusedBodyError, match="must name its boundary"):
        frames(form((b"a", b"x")), content_type=f"multipart/form-data{boundary}")


def test_raw_pixels_come_in_the_order_of_the_graph() -> None:
    image = np.arange(SIDE * SIDE * 3, dtype=np.uint8).reshape(SIDE, SIDE, 3)
    (same,) = raw(image)
    (turned,) = raw(image, drupe_order="bgr")
    assert np.array_equal(same.pixels(CONTRACT), image)
    assert np.array_equal(turned.pixels(CONTRACT), image[..., ::-1])
    bgr = ImageContract(SIDE, channels="bgr")
    assert np.array_equal(raw(image, bgr)[0].pixels(bgr), image[..., ::-1])
    (read,) = frames(png(image))
    assert np.array_equal(read.pixels(CONTRACT), image)


def test_deep_mono_pixels_are_taken_with_the_lower_byte_first() -> None:
    image = np.full((SIDE, SIDE, 1), 300, "<u2")
    (frame,) = raw(image, DEEP, drupe_order="mono", drupe_dtype="uint16")
    assert int(frame.pixels(DEEP).max()) == 300
    (bright,) = raw(image + np.uint16(4000), DEEP, drupe_order="mono", drupe_dtype="uint16")
    assert bright.pixels(DEEP) == "pixel value 4,300, must be at most the white level 4,095"


def test_another_size_is_taken_where_the_bundle_resizes() -> None:
    image = np.full((8, 20, 3), 7, np.uint8)
    resizing = ImageContract(SIDE, sizes="resize")
    (frame,) = raw(image, resizing)
    assert frame.pixels(resizing).shape == (SIDE, SIDE, 3)
    assert frame.pixels(CONTRACT) == "must be 16 x 16 pixels, got 20 x 8"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"drupe_shape": "8,8,3"}, "must be 16,16,3 or N,16,16,3, got '8,8,3'"),
        ({"drupe_shape": "16,16"}, "Drupe-Shape"),
        ({"drupe_shape": "16,16,1"}, "Drupe-Shape"),
        ({"drupe_shape": "-1,16,16,3"}, "Drupe-Shape"),
        ({"drupe_shape": "0,16,16,3"}, "Drupe-Shape"),
        ({"drupe_shape": "1,1,16,16,3"}, "Drupe-Shape"),
        ({"drupe_shape": "9" * 60}, "Drupe-Shape"),
        ({"drupe_shape": "2,16,16,3"}, "must have 1,536 bytes .* got 768"),
        ({"drupe_shape": "4,16,16,3"}, "at most 3 images a request, got 4"),
        ({"drupe_dtype": "float32"}, "must be uint8, got 'float32'"),
        ({"drupe_order": "grb"}, "must be rgb or bgr, got 'grb'"),
    ],
)
def test_raw_pixels_that_do_not_fit_are_refused(changed, words) -> None:
    with pytest.raises(RefusedBodyError, match=words):
        raw(grey(0.5), **changed)


def test_raw_pixels_must_say_how_they_lie() -> None:
    body = grey(0.5).tobytes()
    with pytest.raises(RefusedBodyError, match="Drupe-Dtype: must be uint8, got none"):
        frames(body, drupe_shape="16,16,3")
    with pytest.raises(RefusedBodyError, match="Drupe-Order: must be rgb or bgr, got none"):
        frames(body, drupe_shape="16,16,3", drupe_dtype="uint8")


def test_items_have_the_name_that_is_given() -> None:
    assert named_item({}, "made up") == "made up"
    assert named_item({"drupe-item": "piece 7"}, "made up") == "piece 7"
    for wrong in ("", "x" * 201, "tab\t", "pä"):
        with pytest.raises(RefusedBodyError, match="Drupe-Item"):
            named_item({"drupe-item": wrong}, "made up")


def test_a_frame_says_why_it_is_no_image() -> None:
    assert Frame("x", b"no image").pixels(CONTRACT).startswith("not a PNG")
