"""Rows that read much the same columns, put together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pathc.backends.groups import Ids

_WINDOW = 2048
"""Groups among which the next one of a set is looked for."""
_FAR = np.iinfo(np.int64).max


class Pool:
    """Groups of rows by the columns they read, taken out in sets that share many columns.

    `columns` lists the distinct columns of each group, `rows` says how many rows it has; a set has at most `most` rows.
    """

    def __init__(self, columns: Sequence[Ids], rows: Ids, most: int) -> None:
        self.rows, self.most = rows, most
        self.sizes = np.array([len(each) for each in columns], np.int64)
        whole = np.concatenate([*columns, np.zeros(0, np.int64)])
        self._kinds, found = np.unique(whole, return_inverse=True)
        self._found = np.split(found, np.cumsum(self.sizes)[:-1])
        owner = np.repeat(np.arange(len(columns)), self.sizes)[np.argsort(found, kind="stable")]
        self._hearers = np.split(owner, np.cumsum(np.bincount(found, minlength=len(self._kinds)))[:-1])
        self._shared = np.zeros(len(columns), np.int64)
        self._largest = int(rows.max(initial=0))

    def sets(self) -> Iterator[list[int]]:
        """All groups by number; each set is begun by the first one left and filled with what adds fewest columns."""
        left = np.ones(len(self.rows), bool)
        first = 0
        while first < len(left):
            if not left[first]:
                first += 1
                continue
            near = first + np.flatnonzero(left[first : first + 2 * _WINDOW])[:_WINDOW]
            chosen = self._chosen(near)
            left[chosen] = False
            yield chosen

    def _chosen(self, near: Ids) -> list[int]:
        """The first of some groups, and those that stand with it."""
        chosen, inside = [int(near[0])], set[int]()
        room = self.most - int(self.rows[near[0]])
        near = near[1:]
        sizes, rows = self.sizes[near], self.rows[near]
        gone = rows > room
        while not gone.all():
            for kind in self._found[chosen[-1]].tolist():
                if kind not in inside:
                    inside.add(kind)
                    self._shared[self._hearers[kind]] += 1
            added = sizes - self._shared[near]
            added[gone] = _FAR
            best = int(np.argmin(added))
            chosen.append(int(near[best]))
            room -= int(rows[best])
            gone[best] = True
            if self._largest > room:
                gone |= rows > room
        for kind in inside:
            self._shared[self._hearers[kind]] = 0
        return chosen
