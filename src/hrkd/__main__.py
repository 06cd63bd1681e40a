"""``python -m hrkd``: the command line."""

from hrkd.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
