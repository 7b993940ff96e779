"""A figure with its limit, and how it is printed."""

import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    value: str
    limit: str = ""
    held: bool | None = None  # None: printed for comparison, no limit
    note: str = ""

    def row(self) -> str:
        verdict = {True: "held", False: "MISSED", None: ""}[self.held]
        return f"| {self.name} | {self.value} | {self.limit} | {verdict} | {self.note} |"


HEADER = "| figure | measured | limit | | note |\n|---|---|---|---|---|"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
