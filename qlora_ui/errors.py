"""UserError: a fault a person can do something about, as a text key with values."""

from typing import Any


class UserError(Exception):
    """A fault with a sentence for a person in `texts/`: `error.<key>.what` and `error.<key>.do`.

    `values` fill the placeholders of both sentences; they may come from a model, a file or an exception,
    so whoever draws them in HTML escapes them.
    """

    def __init__(self, key: str, **values: Any) -> None:
        super().__init__(key, values)
        self.key = key
        self.values = values

    def __str__(self) -> str:
        return f"{self.key} {self.values}"


class Stopped(Exception):
    """A person's Stop ended work of which nothing is worth keeping, like a download."""
