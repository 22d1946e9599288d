"""Arguments of the public functions that are one or several."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    Text = str | os.PathLike[str]

__all__ = ["texts"]


def texts(given: Text | Iterable[Text]) -> tuple[str, ...]:
    """Each of them; what is given by itself is one, and not as many as it has characters."""
    if isinstance(given, str | os.PathLike):
        return (os.fspath(given),)
    return tuple(os.fspath(each) for each in given)
