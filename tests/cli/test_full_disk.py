"""Files that can't grow, as on a full disk, in each command that writes one alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from run_files import write_run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no limits of the kind")

LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
most = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
from drupe.cli.app import main
main()
"""

COMMANDS = {
    "synth": (("data", "synth", "new", "--images", "20", "--size", "64"), "new"),
    "audit": (("data", "audit", "crops", "--fix-list", "new.csv"), "drupe-store"),
    "threshold": (("threshold", "run", "--min-recall", "0.8"), "run/evaluation.json"),
    "pack": (("train", "tiny.yaml", "--data", "crops", "--out", "new"), "drupe-store"),
}
TINY = "model: {architecture: test_resnet, pretrained: false}\ninput: {size: 64}\n"


def cut_short(folder: Path, most: int, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run a command whose files end at ``most`` bytes; its lines aren't counted, in a file too."""
    counting = ("COVERAGE_", "COV_CORE_")
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(most), *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={name: one for name, one in os.environ.items() if not name.startswith(counting)},
    )


@pytest.mark.parametrize(
    ("command", "most"),
    # Without a byte, PyTorch finds no folder for temporary files and isn't even loaded.
    [
        ("synth", 0),
        ("synth", 700),
        ("audit", 0),
        ("threshold", 0),
        ("threshold", 700),
        ("pack", 700),
    ],
)
def test_a_full_disk_names_the_place_and_leaves_nothing(
    tmp_path: Path, small_synthetic: Path, command: str, most: int
) -> None:
    words, written = COMMANDS[command]
    (tmp_path / "crops").symlink_to(small_synthetic)
    (tmp_path / "tiny.yaml").write_text(TINY)
    run = write_run(tmp_path / "run")
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    done = cut_short(tmp_path, most, words)
    assert done.returncode == 2, done.stderr
    assert written.partition("/")[0] in done.stderr.splitlines()[-1]
    assert "reading or writing failed" not in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.rglob("*.tmp")] == []
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before


def test_a_set_that_met_a_full_disk_is_finished_by_the_same_command(tmp_path: Path, quick) -> None:
    words = COMMANDS["synth"][0]
    for most in (0, 1500):
        assert cut_short(tmp_path, most, words).returncode == 2
    assert quick(*words).code == 0
    assert quick("data", "synth", "whole", *words[3:]).code == 0
    files = [path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*.*")]
    assert len(files) == 21
    assert all(
        (tmp_path / "new" / one).read_bytes() == (tmp_path / "whole" / one).read_bytes()
        for one in files
    )
