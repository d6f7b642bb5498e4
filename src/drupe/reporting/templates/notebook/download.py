"""## 11. Download

The verdict, the report, and the bundle of the recommended model.
"""

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
