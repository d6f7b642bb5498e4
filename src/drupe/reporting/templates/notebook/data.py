"""## 4. Drive and data

Runs, thresholds and verdict lie on the Drive as they are made. Images, and the array that they
are packed into, lie on the session's own disk: a Drive is slow with thousands of small files.
"""

import zipfile

RESULTS = FOLDER
if IN_COLAB and DRIVE:
    drive.mount(MOUNT)
    RESULTS = Path(MOUNT) / DRIVE
    RESULTS.mkdir(parents=True, exist_ok=True)

# One store for the commands; what must survive the session are links to the Drive, which can hold
# no links itself.
STORE = FOLDER / "store"
if RESULTS != FOLDER:
    for name in ("runs", "smoke", "overlays"):
        kept, link = RESULTS / "store" / name, STORE / name
        kept.mkdir(parents=True, exist_ok=True)
        STORE.mkdir(exist_ok=True)
        if link.is_symlink():
            link.unlink()
        link.symlink_to(kept, target_is_directory=True)
STUDY_FOLDER = (STORE / "smoke" if SMOKE else STORE) / "runs" / __STUDY_NAME__


def find(path: str, *folders: Path | None) -> Path | None:
    """Return the first of ``path`` as it stands and below ``folders`` that exists."""
    places = [Path(path).expanduser(), *(folder / path for folder in folders if folder)]
    return next((place.absolute() for place in places if place.exists()), None)


def unpack(file: Path) -> Path:
    """Unpack a .zip, once for each size of it; return the folder of the crops."""
    folder = FOLDER / "images" / f"{file.stem}-{file.stat().st_size}"
    if not folder.exists():
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        with zipfile.ZipFile(file) as archive:
            archive.extractall(partial)
        shutil.rmtree(partial / "__MACOSX", ignore_errors=True)
        partial.replace(folder)
    inside = [item for item in folder.iterdir() if item.is_dir()]
    return inside[0] if len(inside) == 1 and inside[0].name != "train" else folder


def bring_here(folder: Path) -> Path:
    """Copy a folder from the Drive to the session's disk, once a session."""
    here = FOLDER / "images" / folder.name
    if not here.exists():
        partial = here.with_name(here.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(folder, partial)
        partial.replace(here)
    return here


def data_folder() -> Path:
    """Return a folder of labelled crops on the session's disk."""
    usual = (RESULTS / "data", RESULTS / "data.zip")
    found = find(DATA, RESULTS) if DATA else next((one for one in usual if one.exists()), None)
    if DATA and found is None:
        raise RuntimeError(f"DATA: must be a folder or a .zip here or below DRIVE, got {DATA!r}")
    if found is None:
        drupe("data", "fetch", FOLDER / "images" / "cherries")
        return FOLDER / "images" / "cherries"
    if found.suffix == ".zip":
        return unpack(found)
    return bring_here(found) if found.is_relative_to(MOUNT) else found


def study(*words: object) -> int:
    """Run ``drupe study run`` with everything that holds for all experiments."""
    smoke = ("--smoke",) if SMOKE else ()
    common = ("--data", CROPS, "--store", STORE, *smoke)
    return drupe("study", "run", STUDY_FILE, *OVERRIDES, *BASELINE, *common, *words)


def run_experiments(*names: str, needs: tuple[str, ...] = ()) -> None:
    """Run what is not yet done of these experiments and of those that they ``need`` first.

    One that fails doesn't stop the others.
    """
    chosen = [name for name in names if not SKIP[name]]
    if not chosen:
        print("skipped:", ", ".join(names))
        return
    left_out: list[str] = []
    for name in needs:
        if SKIP[name]:
            print(f"{', '.join(chosen)}: needs a run of {name}, which is left out")
            left_out += ["--skip", name]
        else:
            chosen.append(name)
    require_gpu(*chosen)
    if study(*(word for name in chosen for word in ("--only", name)), *left_out):
        print("Not everything ran: the lines above say why. Run all cells again to try again.")


BASELINE: list[str] = []
CROPS = data_folder()
STUDY_FILE = find(STUDY, SOURCE_FOLDER, Path(".."), RESULTS)
if STUDY_FILE is None:
    raise RuntimeError(f"STUDY: must be here, in SOURCE or below DRIVE, got {STUDY!r}")
print(f"data: {CROPS}\nstudy: {STUDY_FILE}\nresults: {RESULTS}")
