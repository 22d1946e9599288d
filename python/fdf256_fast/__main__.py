"""``python -m fdf256_fast`` is the command ``fdf256``, and so is :func:`main`.

Only what every call needs is imported here: ``fdf256 --version`` takes hardly longer than Python itself.
"""

import sys


def main() -> None:
    """Run the command and exit with its status."""
    if sys.argv[1:] == ["--version"]:
        from fdf256_fast._core import __version__  # noqa: PLC0415 - see above

        sys.stdout.write(f"fdf256 {__version__}\n")
        return
    from fdf256_fast.cli import main as run  # noqa: PLC0415

    run()


if __name__ == "__main__":
    main()
