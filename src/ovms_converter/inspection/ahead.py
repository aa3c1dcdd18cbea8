"""Where a reader that jumps from header to header will look next.

A graph file with its weights inside is read by jumping over each weight, and every jump waits for the answer
to the one before. But the layers of a model repeat, and so do the distances: after two jumps like two earlier
ones, the next are likely those that followed then, and can be asked for all at once.
"""

from collections.abc import Iterator

__all__ = ["SLACK", "Jumps"]

SLACK = 256
"""Two distances that differ by fewer bytes are the same: `layer9` and `layer10` are not equally long."""

_CONTEXT = 2
"""Fewer jumps like earlier ones tell nothing."""

_LONGEST = 64
"""More jumps than this are not compared: no layer has more tensors."""


class Jumps:
    """The places in a file that were looked at, in their order, and how many bytes were taken there."""

    def __init__(self) -> None:
        self._places: list[int] = []
        self._lengths: list[int] = []
        self._distances: list[int] = []

    def add(self, place: int, length: int) -> None:
        """Note a place."""
        if self._places:
            self._distances.append(place - self._places[-1])
        self._places.append(place)
        self._lengths.append(length)

    def following(self, count: int) -> Iterator[tuple[int, int]]:
        """Up to `count` places that are likely next, with lengths: fewer the less has repeated so far."""
        after, alike = self._repetition()
        place = self._places[-1]
        for index in range(after, min(after + min(count, 2 * alike), len(self._distances))):
            place += self._distances[index]
            yield place, self._lengths[index + 1]

    def _repetition(self) -> tuple[int, int]:
        """The index behind the earlier jumps that are like the last ones, and how many are; (0, 0) if none.

        Of several places the one with the longest history in common counts, the latest among equals.
        """
        end = len(self._distances)
        best = (0, 0)
        for after in range(end - 1, _CONTEXT - 1, -1):
            alike = 0
            while alike < min(after, _LONGEST) and self._same(after - 1 - alike, end - 1 - alike):
                alike += 1
            if alike > max(best[1], _CONTEXT - 1):
                best = (after, alike)
        return best

    def _same(self, one: int, other: int) -> bool:
        return abs(self._distances[one] - self._distances[other]) < SLACK
