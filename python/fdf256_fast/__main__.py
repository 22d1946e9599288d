"""``python -m fdf256_fast`` is the command ``fdf256``, and so is :func:`main`.

Only what every call needs is imported here: ``fdf256 --version`` takes hardly longer than Python itself.
"""

import sys


def main(arguments: "list[str] | None" = None) -> None:
    """Run the command and exit with its status."""
    given = sys.argv[1:] if arguments is None else arguments
    if given == ["--version"]:
        from fdf256_fast._core import __version__  # noqa: PLC0415 - see above

        sys.stdout.write(f"fdf256 {__version__}\n")
        return
    import gc  # noqa: PLC0415

    # Imports make a great many objects and no garbage; looking for it costs a tenth of the start-up.
    gc.disable()
    from fdf256_fast.status import run  # noqa: PLC0415

    run(given)


if __name__ == "__main__":
    main()
