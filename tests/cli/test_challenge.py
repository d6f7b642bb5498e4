from __future__ import annotations


def test_command(quick, tmp_path) -> None:
    (tmp_path / "pieces.csv").write_text("piece,expected,seen\nP1,defect,reject\nC1,clean,accept\n")
    result = quick("challenge", "pieces.csv", "--records", "records.jsonl")
    assert result.code == 0, result.stderr
    assert "pass: 2 pieces" in result.stdout
    (tmp_path / "pieces.csv").write_text("piece,expected,seen\nP1,defect,accept\n")
    result = quick("challenge", "pieces.csv", "--records", "records.jsonl")
    assert result.code == 1
    assert "P1: defect, seen: accept" in result.stdout
    assert "STOP. Held is all that was accepted since 2" in result.stdout
