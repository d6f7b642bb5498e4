"""## 2. Install

Colab's own PyTorch stays as it is. A checkout from an earlier session is brought up to date.
"""

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
