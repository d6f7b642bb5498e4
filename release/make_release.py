"""Build Drupe's wheel and sdist, try both in bare environments, and say what is in them.

    make release                # or: python release/make_release.py [--no-audit] [--out dist]

1. ``dist/``: wheel and sdist.
2. Each is installed into an environment of its own with nothing but what a line PC needs, at the
   versions of ``constraints.txt``: ``drupe --help`` answers, a bundle is verified, loaded and
   decides.
3. ``drupe-VERSION.cdx.json``: a bill of materials (CycloneDX) of the wheel's environment.
4. ``pip-audit`` looks for known vulnerabilities of what is pinned. Where it reaches no database
   this is said, and nothing is claimed.
5. ``SHA256SUMS`` of all of it.

Ends with 1 if a step fails or a vulnerability is known.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
CONSTRAINTS = REPOSITORY / "constraints.txt"

TRIAL = """
import sys
import numpy as np
import drupe
classifier = drupe.load(sys.argv[1], order="rgb", uncertified=True)
side = classifier.manifest.input.size
images = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
scores = classifier.scores(images)
assert scores.shape == (3,) and ((scores >= 0) & (scores <= 1)).all(), scores
assert "torch" not in sys.modules
print(drupe.__version__, drupe.__file__)
"""


def main() -> None:
    options = parse()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise SystemExit(f"{out}: must be empty, or two releases would be mixed")
    run(sys.executable, "-m", "build", "--outdir", out, REPOSITORY)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    with tempfile.TemporaryDirectory(prefix="drupe-release-") as scratch:
        bundle = make_bundle(Path(scratch))
        for artefact in (wheel, sdist):
            python = bare_environment(Path(scratch) / artefact.suffix, artefact)
            try_out(python, bundle)
            print(f"{artefact.name}: installed alone, answers, verifies and decides")
            if artefact is wheel:
                bill = out / f"{'-'.join(wheel.name.split('-')[:2])}.cdx.json"
                write_bill(python, bill)
    is_clean = options.audit is False or audit(CONSTRAINTS)
    write_sums(out)
    raise SystemExit(not is_clean)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=REPOSITORY / "dist")
    parser.add_argument("--no-audit", dest="audit", action="store_false")
    return parser.parse_args()


def run(*words: object, folder: Path | None = None) -> str:
    """Run a command outside this checkout; its failure ends the release."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder or tempfile.gettempdir(),
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: ended with {done.returncode}")
    return done.stdout


def make_bundle(folder: Path) -> Path:
    """Return a bundle of a small untrained network, made by this checkout."""
    sys.path[:0] = [str(REPOSITORY / "src"), str(REPOSITORY / "benchmarks")]
    from untrained import untrained_bundle

    return untrained_bundle(folder / "bundle", "test_resnet", 64)


def bare_environment(folder: Path, artefact: Path) -> Path:
    """Return the Python of a new environment that holds ``artefact`` and its needs alone."""
    run(sys.executable, "-m", "venv", folder)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*install, "-c", CONSTRAINTS, artefact)
    return python


def try_out(python: Path, bundle: Path) -> None:
    drupe = python.with_name("drupe")
    help_text = run(drupe, "--help")
    if "Train, judge and ship" not in help_text:
        raise SystemExit(f"{drupe} --help says something else: {help_text[:200]}")
    run(drupe, "bundle", "verify", bundle)
    said = run(python, "-c", TRIAL, bundle)
    if str(python.parents[1]) not in said:
        raise SystemExit(f"{python}: tried another installation: {said}")


def write_bill(python: Path, bill: Path) -> None:
    """Write what the wheel's environment holds, with versions and licences, as CycloneDX."""
    program = shutil.which("cyclonedx-py", path=str(Path(sys.executable).parent))
    if program is None:
        raise SystemExit("cyclonedx-py: not found; pip install -c constraints.txt '.[release]'")
    words = (program, "environment", python, "--of", "JSON", "--output-file", bill)
    run(*words, "--pyproject", REPOSITORY / "pyproject.toml")
    components = json.loads(bill.read_text(encoding="utf-8"))["components"]
    names = {component["name"].lower() for component in components}
    if not {"numpy", "onnxruntime", "pydantic"} <= names:
        raise SystemExit(f"{bill}: lacks what Drupe needs, holds {', '.join(sorted(names))}")
    print(f"{bill.name}: {len(components)} components")


def audit(pinned: Path, program: Sequence[str] = (sys.executable, "-m", "pip_audit")) -> bool:
    """Return whether no vulnerability of the pinned packages is known; None known where unasked."""
    words = (*program, "--requirement", str(pinned), "--no-deps", "--disable-pip", "-f", "json")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"pip-audit: SKIPPED, no database was reached; nothing is known ({last})")
        return True
    unknown = [one["name"] for one in packages if "skip_reason" in one]
    found = [
        f"{one['name']} {one['version']}: {', '.join(item['id'] for item in one['vulns'])}"
        for one in packages
        if one.get("vulns")
    ]
    if len(unknown) == len(packages):
        print(f"pip-audit: SKIPPED, none of {len(packages)} packages could be looked up")
        return True
    known = len(packages) - len(unknown)
    print(f"pip-audit: {known} packages looked up, {len(found)} with known vulnerabilities")
    if unknown:
        print(f"  {len(unknown)} could not be looked up: {', '.join(unknown)}")
    for line in found:
        print(f"  {line}")
    return not found


def write_sums(folder: Path) -> None:
    """Write the SHA-256 of each file, as ``sha256sum -c`` reads it."""
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in sorted(folder.iterdir())
    ]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
