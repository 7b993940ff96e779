"""A curve of any length in a bounded number of points."""

from collections.abc import Iterator

Point = tuple[int, float]


class Series:
    """Keeps at most `limit` points: of each stretch of steps the lowest and the highest, so that a spike
    stays a spike; and the first and the last point. A point costs the same however long the curve is."""

    def __init__(self, limit: int = 1000) -> None:
        self._most = (limit - 2) // 2  # stretches
        self._width = 1  # steps in a stretch
        self._numbers: list[int] = []  # of the stretches; their lowest and highest points:
        self._lows: list[Point] = []
        self._highs: list[Point] = []
        self._inside = (-1, 0.0, 0.0)  # the last stretch: its number, lowest and highest value
        self.first: Point | None = None
        self.last: Point | None = None

    def add(self, step: int, value: float) -> None:
        """The next point. Steps come in order; `cut` first where they start again."""
        self.last = point = (step, value)
        number, low, high = self._inside
        if step // self._width == number and low <= value <= high:
            return  # most points of a long curve
        if self.first is None:
            self.first = point
        self._merge(step // self._width, point, point)
        while len(self._numbers) > self._most:
            self._widen()
        self._inside = (self._numbers[-1], self._lows[-1][1], self._highs[-1][1])

    def cut(self, from_step: int) -> None:
        """Drop every point with a step above `from_step`."""
        if self.last is None or self.last[0] <= from_step:
            return
        kept = [point for point in self if point[0] <= from_step]
        self._empty()
        if kept:
            self.last = kept[-1]
        else:
            self.first = self.last = None
        for point in kept:
            self._merge(point[0] // self._width, point, point)

    def __iter__(self) -> Iterator[Point]:
        """The points kept, by step; at most `limit`."""
        kept = {*self._lows, *self._highs}
        kept.update(point for point in (self.first, self.last) if point)
        return iter(sorted(kept))

    def _merge(self, number: int, low: Point, high: Point) -> None:
        if self._numbers and self._numbers[-1] == number:
            if low[1] < self._lows[-1][1]:
                self._lows[-1] = low
            if high[1] > self._highs[-1][1]:
                self._highs[-1] = high
        else:
            self._numbers.append(number)
            self._lows.append(low)
            self._highs.append(high)

    def _widen(self) -> None:
        stretches = list(zip(self._numbers, self._lows, self._highs, strict=True))
        self._width *= 2
        self._empty()
        for number, low, high in stretches:
            self._merge(number // 2, low, high)

    def _empty(self) -> None:
        self._numbers, self._lows, self._highs = [], [], []
        self._inside = (-1, 0.0, 0.0)
