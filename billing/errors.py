"""What an operation raises when it refuses."""

from __future__ import annotations


class DomainError(Exception):
    """An operation refused and changed nothing; ``str()`` is a sentence for the person who asked.

    ``field`` names the input that is wrong, where one is: faces show the sentence beside it.
    """

    default = "This cannot be done."

    def __init__(self, message: str | None = None, *, field: str | None = None) -> None:
        super().__init__(message or self.default)
        self.field = field


class Conflict(DomainError):
    """Somebody else got there first, or the same key came with other input."""

    default = "Somebody else changed this at the same time. Nothing was changed; look again and repeat."
