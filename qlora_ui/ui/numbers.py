"""Counts and shares as a person of each language writes them (sizes and times: `texts/quantities.py`)."""

SCALES = {
    "en": ((10**9, " billion"), (10**6, " million")),
    "zh": ((10**8, " 亿"), (10**4, " 万")),
}


def count(language: str, number: int) -> str:
    """1234 → "1,234"; 2442240 → "2.44 million" or "244 万"."""
    for scale, word in SCALES[language]:
        if number >= scale:
            return f"{number / scale:.3g}{word}" if number < 1000 * scale else f"{number // scale:,}{word}"
    return f"{number:,}"


def percent(share: float) -> str:
    """0.0178 → "1.8 %"; what is less than 0.05 % says so and is never "0 %"."""
    shown = 100 * share
    if 0 < shown < 0.05:
        return "< 0.1 %"
    return f"{shown:.1f} %" if shown < 10 else f"{shown:.0f} %"
