"""## 3. GPU

Stops here if an experiment is to be trained and there is no GPU. In Colab: Runtime, Change
runtime type, T4 GPU. `ALLOW_CPU = True` trains without one; a smoke test needs none.
"""

import json

TRAINED = __TRAINED__


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
