"""The exception tree.

::

    Error                      exit status 1
    ├── UsageError             2   an option or argument cannot be used (also a ValueError)
    │   └── CatalogError           a catalog file is not a catalog
    ├── IntegrityError         3   bytes are not what they should be
    │   ├── DigestMismatch         a whole archive or file has another digest
    │   ├── MemberError            one member is damaged or hostile
    │   ├── ArchiveError           an archive as a whole cannot be trusted or read
    │   └── MetadataError          a metadata file is no JSON, or of another layout
    ├── TransferError          4   no source delivers; what arrived is kept
    │   └── StatusError            a source answered with a status that is final
    ├── StorageError           5   disk full, permission, read only (also an OSError)
    └── LockedError            6   another process works on this target

Rust raises these classes too: ``rust/bindings/src/errors.rs`` imports them from here and fills in the
fields, so that ``except fdf256_fast.DigestMismatch`` works whichever side noticed.  Each message says
what happened, to which file, and what to do; ``hint`` holds that last part on its own.
"""

from __future__ import annotations

# As in __init__.py: `import fdf256_fast` needs this module, and not typing.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from fdf256_fast.report import Report

__all__ = [
    "ArchiveError",
    "CatalogError",
    "DigestMismatch",
    "Error",
    "IntegrityError",
    "LockedError",
    "MemberError",
    "MetadataError",
    "StatusError",
    "StorageError",
    "TransferError",
    "UsageError",
]


class Error(Exception):
    """Base of everything this package raises on purpose.

    ``exit_status`` is the status the command ends with; ``hint`` is what the reader can do about it,
    or an empty string.
    """

    exit_status = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.report: Report | None = None
        """What had been done when it happened, where a run was under way."""

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UsageError(Error, ValueError):
    """An option, argument or setting cannot be used as given."""

    exit_status = 2


class CatalogError(UsageError):
    """A catalog does not exist, is not TOML, or lacks a field; the message names file and field."""


class IntegrityError(Error):
    """Bytes are not what they should be.  Nothing that failed a check has been published."""

    exit_status = 3


class DigestMismatch(IntegrityError):
    """A whole file or archive has another digest than the one that was asked for."""

    def __init__(self, path: str, expected: str, computed: str, *, hint: str = "") -> None:
        super().__init__(f"{path}: digest is {computed}, expected {expected}", hint=hint)
        self.path = path
        self.expected = expected
        self.computed = computed


class MemberError(IntegrityError):
    """One member of an archive is damaged, hostile, or of an unsupported kind.

    ``archive`` is the archive's name, ``member`` the member's name as the archive has it, ``offset``
    the byte offset of its local header in the archive, ``reason`` what is wrong with it.
    """

    def __init__(self, archive: str, member: str, offset: int, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{archive}: member {member!r} at byte {offset}: {reason}", hint=hint)
        self.archive = archive
        self.member = member
        self.offset = offset
        self.reason = reason


class ArchiveError(IntegrityError):
    """An archive as a whole cannot be trusted or read; ``offset`` is where in it."""

    def __init__(self, archive: str, offset: int, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{archive}: {reason} (at byte {offset})", hint=hint)
        self.archive = archive
        self.offset = offset
        self.reason = reason


class MetadataError(IntegrityError):
    """A metadata file is no JSON, or not of the layout that FDF256 has; ``offset`` is the byte where."""

    def __init__(self, path: str, offset: int, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{path}: {reason} (at byte {offset})", hint=hint)
        self.path = path
        self.offset = offset
        self.reason = reason


class TransferError(Error):
    """No source delivers.  Everything verified so far is kept; the same call goes on from there."""

    exit_status = 4

    def __init__(self, message: str, *, url: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.url = url


class StatusError(TransferError):
    """A source answered with an HTTP status; ``status`` is that number."""

    def __init__(self, message: str, *, url: str, status: int, hint: str = "") -> None:
        super().__init__(message, url=url, hint=hint)
        self.status = status


class StorageError(Error, OSError):
    """The disk is full, read-only, or not ours to write; ``errno`` and ``filename`` say which."""

    exit_status = 5

    def __init__(
        self, message: str, *, errno: int | None = None, filename: str | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.errno = errno
        self.filename = filename


class LockedError(Error):
    """Another process works on this target."""

    exit_status = 6


def no_thread(error: Exception) -> Error:
    """What to raise when the system refuses a thread."""
    return Error(
        f"cannot start a thread: {error}",
        hint="Let this user have more of them (ulimit -u), or more memory (ulimit -v).",
    )
