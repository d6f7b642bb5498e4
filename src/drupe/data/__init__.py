"""Folders of labelled images: discover, audit, pack, split, synthesise. NumPy and Pillow only."""
