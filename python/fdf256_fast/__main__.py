"""``python -m fdf256_fast`` is the command ``fdf256``."""

from fdf256_fast.cli import main

if __name__ == "__main__":
    main()
