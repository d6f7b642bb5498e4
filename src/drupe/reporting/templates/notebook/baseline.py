"""## 5. Baseline: __BASE__

__ABOUT__

A model that is found at `CHECKPOINT` takes its place; a smoke test trains in either case. Which
images that model was trained on is unknown, so nothing can be certified with it here:
`ALSO_TRAIN_BASELINE = True` gives what needs a run of __BASE__ one.
"""

MODEL = RESULTS / CHECKPOINT
if CHECKPOINT and MODEL.is_file() and not SMOKE:
    BASELINE = [
        f"baseline.checkpoint.file={MODEL}",
        f"baseline.checkpoint.architecture={CHECKPOINT_ARCHITECTURE}",
        "baseline.checkpoint.picked_on_test=true",
    ]
    print(f"baseline: {MODEL}")
    SKIP[__BASE_ID__] = SKIP[__BASE_ID__] or not ALSO_TRAIN_BASELINE
    require_gpu(__BASE_ID__)
    chosen = ("--skip", __BASE_ID__) if SKIP[__BASE_ID__] else ()
    if study("--only", __BASE_ID__, *chosen):
        raise RuntimeError("the baseline has no result; CHECKPOINT = '' trains it instead")
else:
    run_experiments(__BASE_ID__)
