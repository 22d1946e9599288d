"""How a transfer may end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fdf256_fast import DigestMismatch, Error, IntegrityError, StatusError, TransferError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MISMATCH", "RECOVERS", "UNSOUND", "Outcome", "as_sent", "gives_up", "status"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Success with the same bytes as at the origin; or success with what was sent, where nothing could
    tell that it is wrong; or an error of a class, with words that its message must have.
    """

    error: type[Error] | None = None
    words: tuple[str, ...] = ()
    sent: Callable[[bytes], bytes] | None = None

    def __str__(self) -> str:
        if self.error is None:
            return "recovers" if self.sent is None else "as sent: nothing vouches for it"
        return f"{self.error.__name__}, status {self.error.exit_status}"


RECOVERS = Outcome()
MISMATCH = Outcome(DigestMismatch, ("digest",))
UNSOUND = Outcome(IntegrityError)


def gives_up(*words: str) -> Outcome:
    """No source delivers."""
    return Outcome(TransferError, words)


def status(number: int) -> Outcome:
    """A source answered with a status that is final."""
    return Outcome(StatusError, (str(number),))


def as_sent(sent: Callable[[bytes], bytes]) -> Outcome:
    """What arrives is wrong and no rule of HTTP and no digest is there to tell."""
    return Outcome(sent=sent)
