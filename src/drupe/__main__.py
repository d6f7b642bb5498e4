"""``python -m drupe`` is the same as ``drupe``."""

from drupe.cli.app import main

if __name__ == "__main__":
    main()
