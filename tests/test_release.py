from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest

from make_release import audit, write_sums


def answering(folder: Path, stdout: str, stderr: str = "", code: int = 0) -> tuple[str, ...]:
    program = folder / "audit.py"
    program.write_text(
        f"import sys\nprint({stdout!r})\nprint({stderr!r}, file=sys.stderr)\nsys.exit({code})"
    )
    return (sys.executable, str(program))


def test_a_known_vulnerability_ends_a_release(tmp_path, capsys) -> None:
    document = {
        "dependencies": [
            {"name": "numpy", "version": "2.4.6", "vulns": []},
            {"name": "pillow", "version": "9.0", "vulns": [{"id": "CVE-1"}, {"id": "CVE-2"}]},
            {"name": "odd", "skip_reason": "not found"},
        ]
    }
    program = answering(tmp_path, json.dumps(document), code=1)
    assert audit(tmp_path / "constraints.txt", program) is False
    said = capsys.readouterr().out
    assert "2 packages looked up, 1 with known vulnerabilities" in said
    assert "pillow 9.0: CVE-1, CVE-2" in said
    assert "1 could not be looked up: odd" in said


def test_no_known_vulnerability(tmp_path, capsys) -> None:
    document = {"dependencies": [{"name": "numpy", "version": "2.4.6", "vulns": []}]}
    assert audit(tmp_path / "constraints.txt", answering(tmp_path, json.dumps(document))) is True
    assert "SKIPPED" not in capsys.readouterr().out


@pytest.mark.parametrize("stdout", ["", "Traceback", "[]"])
def test_a_database_out_of_reach_is_said(tmp_path, capsys, stdout: str) -> None:
    program = answering(tmp_path, stdout, "ConnectionError: no route", code=1)
    assert audit(tmp_path / "constraints.txt", program) is True
    assert "SKIPPED, no database was reached; nothing is known (ConnectionError" in (
        capsys.readouterr().out
    )


def test_where_nothing_could_be_looked_up_nothing_is_claimed(tmp_path, capsys) -> None:
    document = {"dependencies": [{"name": "numpy", "skip_reason": "404"}]}
    assert audit(tmp_path / "constraints.txt", answering(tmp_path, json.dumps(document))) is True
    said = capsys.readouterr().out
    assert said == "pip-audit: SKIPPED, none of 1 packages could be looked up\n"


def test_sums_are_as_sha256sum_reads_them(tmp_path) -> None:
    (tmp_path / "b.whl").write_bytes(b"b")
    (tmp_path / "a.tar.gz").write_bytes(b"a")
    write_sums(tmp_path)
    sums = (tmp_path / "SHA256SUMS").read_text().splitlines()
    assert sums == [
        f"{hashlib.sha256(content).hexdigest()}  {name}"
        for name, content in (("a.tar.gz", b"a"), ("b.whl", b"b"))
    ]
