"""Where items come from: a folder that is watched, a camera or video, a generator in Python."""
