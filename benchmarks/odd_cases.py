"""Odd files and folders, each made in a set of its own: what people have, and what befalls them.

A case changes a small sound set (``train/`` and ``val/``, classes ``clean`` and ``pit``) and says
what is to be named as the dataset, where that isn't the set's folder.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import struct
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars
from PIL import Image

SIDE = 32
ODD = "train/pit"
"""Where an odd file is put."""

Made = Path | list[Path] | None


@dataclass(frozen=True)
class Case:
    """Something odd: ``make`` puts it into the set's folder, and returns the dataset's name.

    None: the folder itself. is_refused: the dataset as a whole can't be taken.
    """

    group: str
    name: str
    make: Callable[[Path], Made]
    is_refused: bool = False


def picture(seed: int = 99, side: int | tuple[int, int] = SIDE) -> Image.Image:
    """Return a noisy RGB picture, never the same as another one."""
    width, height = (side, side) if isinstance(side, int) else side
    pixels = np.random.default_rng(seed).integers(40, 216, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def sound_set(root: Path, *folders: str, count: int = 3, first: int = 0) -> None:
    """Write ``count`` pictures into each of the ``folders`` (default: two splits, two classes)."""
    folders = folders or ("train/clean", "train/pit", "val/clean", "val/pit")
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            picture(first + number * count + index).save(root / folder / f"{index}.png")


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.copy().save(stream, kind, **options)
    return stream.getvalue()


def two_frames() -> dict[str, Any]:
    """Return what Pillow is told to add a second picture; a new one, for it is left changed."""
    return {"save_all": True, "append_images": [picture(98)]}


def png_chunks(header: bytes, rows: bytes, *between: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of a 13-byte IHDR and raw rows, as no library would write it."""
    parts = [(b"IHDR", header), *between, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def deep_png(channels: int) -> bytes:
    """Return a PNG with 16 bits a channel."""
    values = np.random.default_rng(1).integers(0, 65536, (SIDE, SIDE * channels)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    kind = {1: 0, 3: 2, 4: 6}[channels]
    return png_chunks(struct.pack(">IIBBBBB", SIDE, SIDE, 16, kind, 0, 0, 0), rows)


def bomb() -> bytes:
    """Return a PNG of 30,000 × 30,000 black pixels in a few kilobytes."""
    side = 30_000
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return png_chunks(header, bytes((side // 8 + 1) * side))


def with_hole(data: bytes) -> bytes:
    """Return the bytes with zeros in the middle fifth of their second half."""
    start, end = int(len(data) * 0.6), int(len(data) * 0.7)
    return data[:start] + bytes(end - start) + data[end:]


def oriented(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture(), "JPEG", quality=95, exif=exif)


def file_case(group: str, name: str, file: str, data: bytes | Callable[[], bytes]) -> Case:
    def make(root: Path) -> None:
        (root / ODD / file).write_bytes(data() if callable(data) else data)

    return Case(group, name, make)


def formats() -> list[Case]:
    """Return pictures as cameras and programs write them."""
    rgb = picture()
    grey, alpha = rgb.convert("L"), rgb.convert("RGBA")
    clear = alpha.copy()
    clear.putalpha(grey)
    deep = Image.fromarray(np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) * 60)
    real = Image.fromarray(np.linspace(0, 1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE))
    palette = rgb.quantize(16)
    listed: list[tuple[str, str, bytes | Callable[[], bytes]]] = [
        ("PNG RGB", "odd.png", encoded(rgb, "PNG")),
        ("PNG grey", "odd.png", encoded(grey, "PNG")),
        ("PNG 1 bit", "odd.png", encoded(grey.convert("1"), "PNG")),
        ("PNG palette", "odd.png", encoded(palette, "PNG")),
        (
            "PNG palette with a transparent colour",
            "odd.png",
            encoded(palette, "PNG", transparency=0),
        ),
        ("PNG opaque alpha", "odd.png", encoded(alpha, "PNG")),
        ("PNG transparent", "odd.png", encoded(clear, "PNG")),
        ("PNG grey and alpha", "odd.png", encoded(clear.convert("LA"), "PNG")),
        ("PNG 16-bit grey", "odd.png", deep_png(1)),
        ("PNG 16-bit RGB", "odd.png", deep_png(3)),
        ("PNG 16-bit RGBA", "odd.png", deep_png(4)),
        ("PNG of one frame, .apng", "odd.apng", encoded(rgb, "PNG")),
        ("animated PNG", "odd.png", encoded(rgb, "PNG", **two_frames())),
        ("PNG with ICC profile", "odd.png", encoded(rgb, "PNG", icc_profile=b"\0" * 128)),
        ("PNG named .jpg", "odd.jpg", encoded(rgb, "PNG")),
        ("PNG named .PNG", "ODD.PNG", encoded(rgb, "PNG")),
        ("PNG without suffix", "odd", encoded(rgb, "PNG")),
        ("JPEG", "odd.jpg", encoded(rgb, "JPEG", quality=90)),
        ("JPEG .jpeg", "odd.JPEG", encoded(rgb, "JPEG", quality=90)),
        ("JPEG .jfif", "odd.jfif", encoded(rgb, "JPEG", quality=90)),
        ("JPEG .jpe", "odd.jpe", encoded(rgb, "JPEG", quality=90)),
        ("JPEG progressive", "odd.jpg", encoded(rgb, "JPEG", progressive=True)),
        ("JPEG grey", "odd.jpg", encoded(grey, "JPEG")),
        ("JPEG CMYK", "odd.jpg", encoded(rgb.convert("CMYK"), "JPEG")),
        ("JPEG with a long comment", "odd.jpg", encoded(rgb, "JPEG", comment=b"x" * 60_000)),
        ("JPEG of two pictures (MPO)", "odd.jpg", encoded(rgb, "MPO", **two_frames())),
        ("BMP", "odd.bmp", encoded(rgb, "BMP")),
        ("BMP palette", "odd.bmp", encoded(palette, "BMP")),
        ("BMP 1 bit", "odd.bmp", encoded(grey.convert("1"), "BMP")),
        ("BMP 32 bit", "odd.bmp", encoded(alpha, "BMP")),
        ("TIFF", "odd.tif", encoded(rgb, "TIFF")),
        ("TIFF LZW", "odd.tiff", encoded(rgb, "TIFF", compression="tiff_lzw")),
        ("TIFF deflate", "odd.tif", encoded(rgb, "TIFF", compression="tiff_adobe_deflate")),
        ("TIFF with JPEG inside", "odd.tif", encoded(rgb, "TIFF", compression="jpeg")),
        ("TIFF 16-bit grey", "odd.tif", encoded(deep, "TIFF")),
        ("TIFF 32-bit float", "odd.tif", encoded(real, "TIFF")),
        ("TIFF CMYK", "odd.tif", encoded(rgb.convert("CMYK"), "TIFF")),
        ("TIFF of two pages", "odd.tif", encoded(rgb, "TIFF", **two_frames())),
        ("WebP", "odd.webp", encoded(rgb, "WEBP", quality=90)),
        ("WebP lossless", "odd.webp", encoded(rgb, "WEBP", lossless=True)),
        ("WebP transparent", "odd.webp", encoded(clear, "WEBP", lossless=True)),
        ("WebP animated", "odd.webp", encoded(rgb, "WEBP", **two_frames())),
        ("GIF", "odd.gif", encoded(palette, "GIF")),
        ("GIF named .png", "odd.png", encoded(palette, "GIF")),
        ("PPM", "odd.ppm", encoded(rgb, "PPM")),
        ("TGA", "odd.tga", encoded(rgb, "TGA")),
        ("AVIF by its suffix", "odd.avif", b"....ftypavif"),
        ("text named .png", "odd.png", b"no picture at all\n"),
        ("a web page named .jpg", "odd.jpg", b"<!doctype html><title>404</title>"),
    ]
    cases = [file_case("format", name, file, data) for name, file, data in listed]
    cases += [
        file_case("orientation", f"EXIF orientation {number}", "odd.jpg", oriented(number))
        for number in (1, 2, 3, 6, 8, 9)
    ]
    cases += [
        file_case("size", name, "odd.png", encoded(picture(side=side), "PNG"))
        for name, side in {
            "one pixel more": SIDE + 1,
            "wider than high": (2 * SIDE, SIDE),
            "1 × 1": 1,
            "4,000 × 1": (4000, 1),
        }.items()
    ]
    return cases


def damage() -> list[Case]:
    """Return files that were torn, overwritten or never finished."""
    rgb = picture(side=SIDE)
    png, jpeg = encoded(rgb, "PNG"), encoded(rgb, "JPEG", quality=95)
    bmp, tiff, webp = encoded(rgb, "BMP"), encoded(rgb, "TIFF"), encoded(rgb, "WEBP", lossless=True)
    listed: list[tuple[str, str, bytes | Callable[[], bytes]]] = [
        ("empty file", "odd.png", b""),
        ("10 kB of zeros", "odd.png", bytes(10_000)),
        ("random bytes", "odd.jpg", np.random.default_rng(5).bytes(2000)),
        ("PNG cut in half", "odd.png", png[: len(png) // 2]),
        ("PNG without its end", "odd.png", png[:-12]),
        ("PNG with a wrong checksum", "odd.png", png[:-20] + b"\xff" + png[-19:]),
        ("PNG with rubbish behind it", "odd.png", png + b"rubbish" * 99),
        ("PNG of 900 megapixels", "odd.png", bomb),
        (
            "PNG without pixels",
            "odd.png",
            png_chunks(struct.pack(">IIBBBBB", 0, 0, 8, 2, 0, 0, 0), b""),
        ),
        ("JPEG cut in half", "odd.jpg", jpeg[: len(jpeg) // 2]),
        ("JPEG without its last two bytes", "odd.jpg", jpeg[:-2]),
        ("JPEG with a hole", "odd.jpg", with_hole(jpeg)),
        ("JPEG header alone", "odd.jpg", jpeg[:200]),
        ("JPEG with rubbish before it", "odd.jpg", b"xx" + jpeg),
        ("BMP cut in half", "odd.bmp", bmp[: len(bmp) // 2]),
        ("TIFF cut in half", "odd.tif", tiff[: len(tiff) // 2]),
        ("WebP cut in half", "odd.webp", webp[: len(webp) // 2]),
    ]
    return [file_case("damage", name, file, data) for name, file, data in listed]


def names() -> list[Case]:
    """Return sound pictures and other files under odd names."""
    sound = encoded(picture(), "PNG")
    listed = {
        "with spaces": " a  b .png",
        "umlauts, composed": unicodedata.normalize("NFC", "süß.png"),
        "umlauts, decomposed": unicodedata.normalize("NFD", "süß.png"),
        "cherries": "🍒.png",
        "a line break": "a\nb.png",
        "a backslash": "a\\b.png",
        "a dash in front": "-rf.png",
        "comma and quotes": 'a,"b".png',
        "glob characters": "[ab]*?.png",
        "250 characters": "x" * 246 + ".png",
        "a dot behind": "odd.png.",
        "a space behind": "odd.png ",
        "hidden": ".odd.png",
        "AppleDouble twin": "._0.png",
        "thumbnails of Windows": "Thumbs.db",
        "settings of a desktop": "desktop.ini",
        "settings of macOS": ".DS_Store",
        "half a download": "odd.png.part",
        "a copy by an editor": "odd.png~",
    }
    cases = [file_case("name", name, file, sound) for name, file in listed.items()]
    for folder in ("@eaDir", "$RECYCLE.BIN", "__MACOSX", ".Trash-1000", "lost+found", "#snapshot"):

        def make(root: Path, folder: str = folder) -> None:
            (root / ODD / folder / "deep").mkdir(parents=True)
            (root / ODD / folder / "a.png").write_bytes(sound)
            (root / ODD / folder / "deep" / "b.png").write_bytes(sound)

        cases.append(Case("name", f"folder {folder}", make))

    def no_utf8(root: Path) -> None:
        Path(os.fsdecode(os.fsencode(root / ODD) + b"/\xff.png")).write_bytes(sound)

    def twins(root: Path) -> None:
        for form in ("NFC", "NFD"):
            name = unicodedata.normalize(form, "fäule")
            sound_set(root, f"{'train' if form == 'NFC' else 'val'}/{name}", count=1, first=500)
        for split in ("train", "val"):
            shutil.rmtree(root / split / "pit")

    return [
        *cases,
        Case("name", "no UTF-8", no_utf8, is_refused=True),
        Case("name", "classes in two Unicode forms", twins, is_refused=True),
    ]


def links() -> list[Case]:
    """Return links to files and folders, and what is no file at all."""

    def link(name: str, target: str, outside: bool = False) -> Callable[[Path], None]:
        def make(root: Path) -> None:
            if outside:
                sound_set(root.parent / "outside", "deep", count=2, first=700)
            (root / name).symlink_to(target)

        return make

    def hard(root: Path) -> None:
        (root / ODD / "odd.png").hardlink_to(root / ODD / "0.png")

    def pipe(root: Path) -> None:
        os.mkfifo(root / ODD / "odd.png")

    def unix_socket(root: Path) -> None:
        here = Path.cwd()
        os.chdir(root / ODD)  # the whole path may be too long for a socket's name
        try:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind("odd.png")
        finally:
            os.chdir(here)

    def folder_named_as_a_file(root: Path) -> None:
        sound_set(root, f"{ODD}/odd.png", count=1, first=600)

    outside = "../../../outside"
    listed = {
        "to a file beside it": link(f"{ODD}/odd.png", "0.png"),
        "to a file of the other class": link(f"{ODD}/odd.png", "../clean/0.png"),
        "to a file outside": link(f"{ODD}/odd.png", f"{outside}/deep/0.png", True),
        "that leads nowhere": link(f"{ODD}/odd.png", "gone.png"),
        "to itself": link(f"{ODD}/odd.png", "odd.png"),
        "to a folder outside": link(f"{ODD}/more", outside, True),
        "to the folder above": link(f"{ODD}/more", ".."),
        "to its own folder": link(f"{ODD}/more", "."),
        "to the set's folder": link(f"{ODD}/more", "../.."),
        "to a folder that is gone": link(f"{ODD}/more", "gone"),
        "hard, to a file beside it": hard,
        "a pipe": pipe,
        "a socket": unix_socket,
        "a folder named as a picture": folder_named_as_a_file,
    }
    return [
        *(Case("link", name, make) for name, make in listed.items()),
        Case("link", "to the other class's folder", link(f"{ODD}/m", "../clean"), is_refused=True),
    ]


def layouts() -> list[Case]:
    """Return sets that are laid out in another way."""

    def only(*folders: str, count: int = 3) -> Callable[[Path], None]:
        def make(root: Path) -> None:
            shutil.rmtree(root)
            root.mkdir()
            if folders:
                sound_set(root, *folders, count=count)

        return make

    def also(*folders: str) -> Callable[[Path], None]:
        return lambda root: sound_set(root, *folders, first=300)

    def copied(source: str, target: str) -> Callable[[Path], None]:
        def make(root: Path) -> None:
            shutil.copy(root / source, root / target)

        return make

    def four(*splits: str) -> tuple[str, ...]:
        return tuple(f"{split}/{name}" for split in splits for name in ("clean", "pit"))

    fine = {
        "plain classes": only("clean", "pit", count=12),
        "train and valid": only(*four("train", "valid")),
        "train and validation": only(*four("train", "validation")),
        "train, val and test": only(*four("train", "val", "test")),
        "Train and VAL": only(*four("Train", "VAL")),
        "train alone": only(*four("train"), count=12),
        "folders below a class": also("train/pit/monday/camera 1", "train/pit/tuesday"),
        "pictures beside train/": also(""),
        "pictures in train/": also("train"),
        "another folder beside train/": also("unsorted/deep"),
        "notes and a table": lambda root: _notes(root),
        "an empty folder in a class": lambda root: (root / ODD / "empty").mkdir(),
        "one picture in both classes": copied("train/clean/0.png", "train/pit/odd.png"),
        "one picture in train and val": copied("train/pit/0.png", "val/pit/odd.png"),
    }
    refused = {
        "three classes": also("train/stem", "val/stem"),
        "one class": only("train/pit", "val/pit"),
        "a class without pictures": lambda root: _emptied(root / "train/clean"),
        "other classes in val": only("train/clean", "train/pit", "val/clean", "val/pits"),
        "val alone": only(*four("val")),
        "val beside valid": also(*four("valid")),
        "no name of a defect": only("train/a", "train/b"),
        "an empty folder": only(),
        "no folder": lambda root: shutil.rmtree(root),
    }
    return [
        *(Case("layout", name, make) for name, make in fine.items()),
        *(Case("layout", name, make, is_refused=True) for name, make in refused.items()),
    ]


def _notes(root: Path) -> None:
    (root / "truth.json").write_text("{}")
    (root / ODD / "notes.txt").write_text("fine")


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def tables() -> list[Case]:
    """Return tables, and several datasets as one."""

    def rows(root: Path, prefix: str = "") -> list[str]:
        paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
        return [f"{prefix}{path},{path.split('/')[1]},{path.split('/')[0]}" for path in paths]

    def table(
        change: Callable[[list[str]], Sequence[str]] = list, encoding: str = "utf-8"
    ) -> Callable[[Path], Path]:
        def make(root: Path) -> Path:
            lines = ["path,label,split", *change(rows(root))]
            (root / "labels.csv").write_bytes("\n".join(lines).encode(encoding))
            return root / "labels.csv"

        return make

    def absolute(root: Path) -> Path:
        (root.parent / "lists").mkdir()
        lines = ["path,label,split", *rows(root, f"{root.absolute()}/")]
        (root.parent / "lists" / "labels.csv").write_text("\n".join(lines))
        return root.parent / "lists" / "labels.csv"

    def parquet(root: Path) -> Path:
        columns = zip(*(row.split(",") for row in rows(root)), strict=True)
        frame = polars.DataFrame(dict(zip(("path", "label", "split"), columns, strict=True)))
        frame.write_parquet(root / "labels.parquet")
        return root / "labels.parquet"

    def semicolons(lines: list[str]) -> list[str]:
        return [line.replace(",", ";") for line in lines]

    def semicolon_table(root: Path) -> Path:
        lines = ["\ufeffpath;label;split", *semicolons(rows(root))]
        (root / "labels.csv").write_text("\r\n".join(lines))
        return root / "labels.csv"

    def second(root: Path) -> list[Path]:
        sound_set(root.parent / "week47", first=400)
        return [root, root.parent / "week47"]

    def second_table(root: Path) -> list[Path]:
        return [root, table()(second(root)[1])]

    def same(root: Path) -> list[Path]:
        made = second(root)
        shutil.copy(root / "train/pit/0.png", made[1] / "train/pit/odd.png")
        return made

    def other_classes(root: Path) -> list[Path]:
        sound_set(root.parent / "week47", "train/good", "train/pit", first=400)
        return [root, root.parent / "week47"]

    fine: dict[str, Callable[[Path], Made]] = {
        "CSV": table(),
        "semicolons and a byte-order mark": semicolon_table,
        "Parquet": parquet,
        "absolute paths": absolute,
        "pictures that aren't named": table(lambda lines: lines[1:]),
        "paths of Windows": table(lambda lines: [line.replace("/", "\\") for line in lines]),
        "two folders": second,
        "a folder and a table": second_table,
        "two folders with one picture": same,
    }
    refused: dict[str, Callable[[Path], Made]] = {
        "a missing file": table(lambda lines: [*lines, "train/pit/gone.png,pit,train"]),
        "a file twice": table(lambda lines: [*lines, f"./{lines[0]}"]),
        "an empty label": table(lambda lines: [lines[0].replace(",clean,", ",,"), *lines[1:]]),
        "an unknown split": table(lambda lines: [f"{lines[0]}ing", *lines[1:]]),
        "UTF-16": table(encoding="utf-16"),
        "a NUL": table(lambda lines: [f"{lines[0]}\0", *lines[1:]]),
        "a row too long": table(lambda lines: [f"{lines[0]},more", *lines[1:]]),
        "one folder twice": lambda root: [root, root],
        "a folder inside another": lambda root: [root, root / "train"],
        "other classes in the second": other_classes,
    }
    return [
        *(Case("table", name, make) for name, make in fine.items()),
        *(Case("table", name, make, is_refused=True) for name, make in refused.items()),
    ]


def all_cases() -> list[Case]:
    """Return every case, by group."""
    return [*formats(), *damage(), *names(), *links(), *layouts(), *tables()]
