"""What the dataset's folders are called."""

from __future__ import annotations

__all__ = ["SPLITS"]

SPLITS = ("train", "val")
