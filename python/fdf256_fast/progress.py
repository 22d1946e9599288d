"""What a run tells about itself: immutable snapshots, and a receiver whose methods all do nothing.

A run polls its counters about ten times a second and hands the same kind of :class:`Snapshot` to
whatever :class:`Progress` it was given.  The work never waits for the receiver.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ArchiveProgress", "Progress", "Snapshot"]


class ArchiveProgress(NamedTuple):
    """Counters of one archive (or one plain file).

    ``size`` is in bytes, None while unknown.  ``arrived`` counts bytes that are here, those kept from
    an earlier run included; ``resumed`` is that earlier part alone.  ``verified`` counts the bytes that
    passed their checks in order (the frontier).  ``members`` is the number of members to unpack, None
    while unknown or where nothing is unpacked; ``unpacked`` how many are done.  ``state`` is one of
    ``waiting``, ``receiving``, ``done``.
    """

    name: str
    size: int | None = None
    arrived: int = 0
    resumed: int = 0
    verified: int = 0
    members: int | None = None
    unpacked: int = 0
    state: str = "waiting"


class Snapshot(NamedTuple):
    """The whole run at one moment.

    ``rate`` is bytes per second over the network now (not counting what was resumed);
    ``seconds`` since the start of this run; ``connections`` in use at this moment.
    """

    archives: tuple[ArchiveProgress, ...]
    seconds: float
    rate: float
    connections: int = 0
    retries: int = 0

    @property
    def size(self) -> int | None:
        """Total bytes, None while the size of any archive is unknown."""
        sizes = [archive.size for archive in self.archives]
        return None if None in sizes else sum(size or 0 for size in sizes)

    @property
    def arrived(self) -> int:
        """Bytes that are here, over all archives."""
        return sum(archive.arrived for archive in self.archives)

    @property
    def seconds_left(self) -> float | None:
        """Estimate at the present rate, None while there is none."""
        if self.size is None or self.rate <= 0:
            return None
        return max(0.0, (self.size - self.arrived) / self.rate)


class Progress:
    """Receiver of a run's progress; override what you need, every default does nothing.

    All methods are called on the event loop's thread and must return at once.
    """

    def started(self, title: str) -> None:
        """The run begins; ``title`` is what is being installed or fetched."""

    def updated(self, snapshot: Snapshot) -> None:
        """Counters, about ten times a second, and once at the end."""

    def message(self, text: str) -> None:
        """One line for a person: a resumed archive, a changed origin, a slow source."""

    def finished(self) -> None:
        """The run is over, whether it succeeded or not; release the screen."""


class MessagesOnly(Progress):
    """Hands on what is said, and no counters: of a dry run, which ends before anything moves."""

    def __init__(self, receiver: Progress) -> None:
        self._receiver = receiver

    def message(self, text: str) -> None:
        """Hand it on."""
        self._receiver.message(text)
