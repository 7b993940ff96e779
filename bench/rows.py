"""Rows of realistic lengths, the same at every run: questions and answers of the demo data, strung together.

An alpaca row is about 200 tokens long, some are ten times as long as others; so are these.
"""

import json
import random
from pathlib import Path

DEMO = Path(__file__).parents[1] / "assets" / "demo" / "pirate.jsonl"
HELD_OUT = 40  # rows of the demo data that only held-out rows are made of


def make(count: int, held_out: int) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """(rows to learn from, held-out rows), each {"prompt": …, "completion": …}."""
    demo = [json.loads(line)["messages"] for line in DEMO.read_text("utf-8").splitlines()]
    dice = random.Random(2026)
    return (
        [_row(demo[HELD_OUT:], dice) for _ in range(count)],
        [_row(demo[:HELD_OUT], dice) for _ in range(held_out)],
    )


def _row(demo: list[list[dict[str, str]]], dice: random.Random) -> dict[str, str]:
    parts = min(11, max(1, round(dice.lognormvariate(1.2, 0.7))))
    talks = dice.sample(demo, parts)
    return {
        "prompt": "\n".join(talk[0]["content"] for talk in talks),
        "completion": "\n\n".join(talk[1]["content"] for talk in talks),
    }
