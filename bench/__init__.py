"""Ours beside the tools that one would pick instead: ``make bench``, or ``python -m bench --help``."""
