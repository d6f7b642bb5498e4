# %% [markdown]
# # phase2
#
# Does a modern network, label smoothing or a better threshold beat the ResNet50 baseline?
#
# Run all cells. After a disconnect run all cells again: what is finished is kept, the rest
# continues.
# Without a GPU set `SMOKE = True`: a few minutes show whether everything would run.
#
# ## 1. Settings

# %%
# One epoch of three batches, first seed, in a store of its own. Its figures mean nothing.
SMOKE = False

# True leaves an experiment out.
SKIP = {
    "BASE": False,  # ResNet50, raw 0-255
    "EXP-001": False,  # Threshold on the baseline
    "EXP-002A": False,  # ConvNeXt-Tiny, hard labels
    "EXP-002B": False,  # ConvNeXt-Tiny, label smoothing 0.1
    "EXP-003A": False,  # EfficientNet-B2, hard labels
    "EXP-003B": False,  # EfficientNet-B2, label smoothing 0.1
    "EXP-004": False,  # SE-ResNet50
    "EXP-005": False,  # Label smoothing, A/B
}

# Train the experiments without a GPU: days instead of hours.
ALLOW_CPU = False

# Where Drupe comes from: a git URL, a folder (also of the Drive) or a package name.
# Empty: what is installed here, else the folder above this notebook.
SOURCE = ""

# The study; looked for here, in SOURCE and below DRIVE.
STUDY = "studies/phase2"

# Folder or .zip of labelled crops, also below DRIVE.
# Empty: data or data.zip below DRIVE if it is there, else the public cherry set.
DATA = ""

# Folder of the mounted Drive, where results survive the session. Empty: no Drive.
DRIVE = "MyDrive/cherry_experiments"

# A model below DRIVE that takes the place of BASE, if it is there. Empty: train BASE.
CHECKPOINT = "resnet50_augmented_unnormalized/model_best.pt"
CHECKPOINT_ARCHITECTURE = "resnet50"

# Train BASE beside the checkpoint too: only a run of its own can be certified here.
ALSO_TRAIN_BASELINE = False

# KEY=VALUE words that change the study, such as "seeds=[42]". A change is reported as a deviation.
OVERRIDES: list[str] = []

# Folder for data and, without a Drive, results; and where Colab mounts the Drive.
LOCAL = "drupe-notebook"
MOUNT = "/content/drive"

# %% [markdown]
# ## 2. Install
#
# Colab's own PyTorch stays as it is. A checkout from an earlier session is brought up to date.

# %%
import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

try:
    from google.colab import drive, files
except ImportError:
    drive = files = None
IN_COLAB = drive is not None
FOLDER = Path(LOCAL).absolute()
FOLDER.mkdir(parents=True, exist_ok=True)

# Ends with this kernel, so that a restarted one finds the study's folder free.
DRUPE = (sys.executable, "-m", "drupe.study.execution.child", os.getpid())


def stream(*words: object) -> int:
    """Run a command, show what it says as it comes, and return its exit code."""
    process = subprocess.Popen(
        [str(word) for word in words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
        return process.wait()
    except KeyboardInterrupt:  # the command was interrupted too, and ends what it has started
        try:
            process.wait(timeout=60)
        finally:
            process.kill()
        raise


def must(*words: object) -> None:
    """Run a command that everything after it needs."""
    code = stream(*words)
    if code:
        raise RuntimeError(f"exit code {code}: {' '.join(map(str, words))}")


def drupe(*words: object) -> int:
    """Run a drupe command; 0: done, 1: the work ran and its answer is no."""
    code = stream(*DRUPE, *words)
    if code not in (0, 1):
        raise RuntimeError(f"drupe {words[0]}: exit code {code}, see the message above")
    return code


def check_out(url: str, folder: Path) -> None:
    """Bring a checkout to the newest state of ``url``; local changes in it are dropped."""
    git = ("git", "-c", "core.askPass=true")  # a question for a password would wait for ever
    if (folder / ".git").is_dir():
        must(*git, "-C", folder, "fetch", "--quiet", "--depth", "1", url, "HEAD")
        must(*git, "-C", folder, "reset", "--quiet", "--hard", "FETCH_HEAD")
        must(*git, "-C", folder, "clean", "--quiet", "-d", "--force")
        return
    shutil.rmtree(folder, ignore_errors=True)
    must(*git, "clone", "--quiet", "--depth", "1", url, folder)


def version(package: str) -> str | None:
    """Return the version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def keep_versions(file: Path) -> Path:
    """Write constraints that keep the installed PyTorch."""
    found = {name: version(name) for name in ("torch", "torchvision")}
    lines = [f"{name}=={number}\n" for name, number in found.items() if number]
    file.write_text("".join(lines), encoding="utf-8")
    return file


def install(source: str) -> Path | None:
    """Install Drupe from a git URL, a folder or a package; return its source folder if any."""
    folder = Path(source).absolute() if Path(source).is_dir() else None
    if "://" in source or source.startswith("git@") or source.endswith(".git"):
        folder = FOLDER / "source"
        check_out(source, folder)
    what = (f"{folder}[train]",) if folder else ("--upgrade", f"{source}[train]")
    constraints = keep_versions(FOLDER / "constraints.txt")
    must(sys.executable, "-m", "pip", "install", "--quiet", "--constraint", constraints, *what)
    return folder


SOURCE_FOLDER: Path | None = None
if IN_COLAB and SOURCE.startswith(MOUNT):
    drive.mount(MOUNT)
if SOURCE:
    SOURCE_FOLDER = install(SOURCE)
elif version("drupe") is None:
    if not Path("../src/drupe").is_dir():
        raise RuntimeError("SOURCE: must be a git URL, a folder or a package name, got nothing")
    SOURCE_FOLDER = install("..")
must(sys.executable, "-m", "drupe", "--version")

# %% [markdown]
# ## 3. GPU
#
# Stops here if an experiment is to be trained and there is no GPU. In Colab: Runtime, Change
# runtime type, T4 GPU. `ALLOW_CPU = True` trains without one; a smoke test needs none.

# %%
import json

TRAINED = ["BASE", "EXP-002A", "EXP-002B", "EXP-003A", "EXP-003B", "EXP-004"]


def gpus() -> list[str]:
    """Return the names of the GPUs that PyTorch can use."""
    said = subprocess.run(
        [sys.executable, "-m", "drupe", "doctor", "--json", "--store", str(FOLDER / "store")],
        stdout=subprocess.PIPE,
        check=False,
    )
    devices = json.loads(said.stdout)["devices"]
    return [item["name"] for item in devices if item["device"].startswith("cuda")]


def require_gpu(*names: str) -> None:
    """Stop if one of these experiments is trained and nothing may train."""
    training = [name for name in names if name in TRAINED and not SKIP[name]]
    if training and not (GPUS or ALLOW_CPU or SMOKE):
        raise RuntimeError(
            f"no GPU: {', '.join(training)} would train for days. Choose a runtime with a GPU, "
            "set ALLOW_CPU = True, or skip the experiments that train"
        )


GPUS = gpus()
print("GPU:", ", ".join(GPUS) or "none")
require_gpu(*SKIP)

# %% [markdown]
# ## 4. Drive and data
#
# Runs, thresholds and verdict lie on the Drive as they are made. Images, and the array that they
# are packed into, lie on the session's own disk: a Drive is slow with thousands of small files.

# %%
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
STUDY_FOLDER = (STORE / "smoke" if SMOKE else STORE) / "runs" / "phase2"


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

# %% [markdown]
# ## 5. Baseline: BASE
#
# - **BASE** ResNet50, raw 0-255. *The reference.*
#
# A model that is found at `CHECKPOINT` takes its place; a smoke test trains in either case. Which
# images that model was trained on is unknown, so nothing can be certified with it here:
# `ALSO_TRAIN_BASELINE = True` gives what needs a run of BASE one.

# %%
MODEL = RESULTS / CHECKPOINT
if CHECKPOINT and MODEL.is_file() and not SMOKE:
    BASELINE = [
        f"baseline.checkpoint.file={MODEL}",
        f"baseline.checkpoint.architecture={CHECKPOINT_ARCHITECTURE}",
        "baseline.checkpoint.picked_on_test=true",
    ]
    print(f"baseline: {MODEL}")
    SKIP["BASE"] = SKIP["BASE"] or not ALSO_TRAIN_BASELINE
    require_gpu("BASE")
    chosen = ("--skip", "BASE") if SKIP["BASE"] else ()
    if study("--only", "BASE", *chosen):
        raise RuntimeError("the baseline has no result; CHECKPOINT = '' trains it instead")
else:
    run_experiments("BASE")

# %% [markdown]
# ## 6. EXP-001
#
# - **EXP-001** Threshold on the baseline. *A threshold other than 0.5 reaches the recall that
#   food safety needs without wasting fruit.* On the run of BASE; nothing is trained.

# %%
run_experiments("EXP-001", needs=("BASE",))

# %% [markdown]
# ## 7. EXP-002A, EXP-002B
#
# - **EXP-002A** ConvNeXt-Tiny, hard labels. *Modern convolutions see fine texture better.*
# - **EXP-002B** ConvNeXt-Tiny, label smoothing 0.1. *Modern convolutions see fine texture better,
#   and soft labels regularise them.*

# %%
run_experiments("EXP-002A", "EXP-002B")

# %% [markdown]
# ## 8. EXP-003A, EXP-003B
#
# - **EXP-003A** EfficientNet-B2, hard labels. *Same accuracy at less cost.*
# - **EXP-003B** EfficientNet-B2, label smoothing 0.1. *Same accuracy at less cost, with soft
#   labels.*

# %%
run_experiments("EXP-003A", "EXP-003B")

# %% [markdown]
# ## 9. EXP-004
#
# - **EXP-004** SE-ResNet50. *Channel attention helps the proven backbone.* Runs only if none of
#   EXP-002A, EXP-002B, EXP-003A, EXP-003B meets accuracy.

# %%
run_experiments("EXP-004", needs=("EXP-002A", "EXP-002B", "EXP-003A", "EXP-003B"))

# %% [markdown]
# ## 10. EXP-005, comparison and verdict
#
# - **EXP-005** Label smoothing, A/B. *Soft labels calibrate and regularise.*
#
# Runs what earlier cells left undone, compares, and decides.

# %%
import html

from IPython.display import HTML, Markdown, display

LARGEST_REPORT = 25_000_000  # bytes that a notebook shows without becoming slow


def show_report() -> bool:
    """Make the report and show it here; return whether that worked."""
    page = STUDY_FOLDER / "report.html"
    page.unlink(missing_ok=True)
    words = (STUDY_FILE, *OVERRIDES, *BASELINE, "--data", CROPS, "--store", STORE, "--out", page)
    stream(*DRUPE, "study", "report", *words)
    if not page.is_file() or page.stat().st_size > LARGEST_REPORT:
        return False
    text = html.escape(page.read_text(encoding="utf-8"))
    frame = f'<iframe srcdoc="{text}" title="report" width="100%" height="900"></iframe>'
    display(HTML(f"<div>{frame}</div>"))
    return True


left_out = [name for name in SKIP if SKIP[name]]
if study(*(word for name in left_out for word in ("--skip", name))):
    print("Not everything ran: the verdict says what has no result.")
VERDICT = STUDY_FOLDER / ("smoke.md" if SMOKE else "verdict.md")
if SMOKE or not show_report():
    display(Markdown(VERDICT.read_text(encoding="utf-8")))

# %% [markdown]
# ## 11. Download
#
# The verdict, the report, and the bundle of the recommended model.

# %%
DECISION = json.loads(VERDICT.with_suffix(".json").read_text(encoding="utf-8"))
RECOMMENDED = DECISION["recommendation"]["experiment"]
wanted = [VERDICT, VERDICT.with_suffix(".json"), STUDY_FOLDER / "report.html"]
wanted += [STUDY_FOLDER / name for name in ("protocol.lock.json", "deviations.json")]
if RECOMMENDED:
    wanted += sorted((STUDY_FOLDER / RECOMMENDED / "bundle").rglob("*"))
ARCHIVE = RESULTS / f"{STUDY_FOLDER.name}{'-smoke' if SMOKE else ''}.zip"
with zipfile.ZipFile(ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
    for path in wanted:
        if path.is_file():
            archive.write(path, path.relative_to(STUDY_FOLDER))
print(f"recommended: {RECOMMENDED or 'keep the baseline'}\n{ARCHIVE}")
if IN_COLAB:
    files.download(str(ARCHIVE))
