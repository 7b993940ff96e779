"""Sizes, times and counts as a person reads them, in their language."""

from typing import Any

from qlora_ui.texts import catalog, text

SIZES = ("B", "kB", "MB", "GB", "TB")
BYTES = ("asked", "free", "used", "limit")  # names of a fault's values


def size(value: float) -> str:
    """Bytes in the unit that fits: `2.6 GB` (units of 1000, as disks and downloads are counted)."""
    units = iter(SIZES)
    unit = next(units)
    while abs(value) >= 999.5 and unit != SIZES[-1]:
        value, unit = value / 1000, next(units)
    return f"{value:.0f} {unit}" if unit in ("B", "kB") or value >= 99.95 else f"{value:.1f} {unit}"


def duration(language: str, seconds: float) -> str:
    """Seconds in the two largest units that matter: `41 s`, `12 min`, `3 h 5 min`, `2 d 4 h`."""
    left = max(0, round(seconds))
    if left < 100:
        return text(language, "ui.time.seconds", seconds=left)
    minutes = round(left / 60)
    if minutes < 60:
        return text(language, "ui.time.minutes", minutes=minutes)
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return text(language, "ui.time.hours", hours=hours, minutes=minutes)
    return text(language, "ui.time.days", days=hours // 24, hours=hours % 24)


def number(value: float) -> str:
    """A measured number, short: `1.12`, `498`, `12,300`, `1.3e-4`."""
    if value == 0 or 0.001 <= abs(value) < 10:
        return f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"
    if abs(value) >= 10:
        return f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def spoken(language: str, values: dict[str, Any]) -> dict[str, Any]:
    """A fault's values as they stand in its sentence: bytes as sizes, a phase by its name."""
    said = {name: size(value) for name, value in values.items() if name in BYTES and is_number(value)}
    if isinstance(phase := values.get("phase"), str):
        said["phase"] = catalog(language).get(f"phase.{phase}", phase)
    return {**values, **said}


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
