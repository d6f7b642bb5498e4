"""# __NAME__

__QUESTION__

Run all cells. After a disconnect run all cells again: what is finished is kept, the rest
continues.
Without a GPU set `SMOKE = True`: a few minutes show whether everything would run.

## 1. Settings
"""

# One epoch of three batches, first seed, in a store of its own. Its figures mean nothing.
SMOKE = False

# True leaves an experiment out.
SKIP = __SKIP__

# Train the experiments without a GPU: days instead of hours.
ALLOW_CPU = False

# Where Drupe comes from: a git URL, a folder (also of the Drive) or a package name.
# Empty: what is installed here, else the folder above this notebook.
SOURCE = __SOURCE__

# The study; looked for here, in SOURCE and below DRIVE.
STUDY = __STUDY__

# Folder or .zip of labelled crops, also below DRIVE.
# Empty: data or data.zip below DRIVE if it is there, else the public cherry set.
DATA = ""

# Folder of the mounted Drive, where results survive the session. Empty: no Drive.
DRIVE = "MyDrive/cherry_experiments"

# A model below DRIVE that takes the place of __BASE__, if it is there. Empty: train __BASE__.
CHECKPOINT = __CHECKPOINT__
CHECKPOINT_ARCHITECTURE = __ARCHITECTURE__

# Train __BASE__ beside the checkpoint too: only a run of its own can be certified here.
ALSO_TRAIN_BASELINE = False

# KEY=VALUE words that change the study, such as "seeds=[42]". A change is reported as a deviation.
OVERRIDES: list[str] = __OVERRIDES__

# Folder for data and, without a Drive, results; and where Colab mounts the Drive.
LOCAL = "drupe-notebook"
MOUNT = "/content/drive"
