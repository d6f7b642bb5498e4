"""## 10. __TITLE__

__ABOUT__

Runs what earlier cells left undone, compares, and decides.
"""

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
