"""Rows that read much the same columns, put together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pathc.backends.groups import Ids

_WINDOW = 2048
"""Groups among which the next one of a set is looked for."""


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
        chosen = [int(near[0])]
        inside = set[int]()
        near = near[1:]
        while True:
            for kind in self._found[chosen[-1]].tolist():
                if kind not in inside:
                    inside.add(kind)
                    self._shared[self._hearers[kind]] += 1
            near = near[self.rows[near] <= self.most - int(self.rows[chosen].sum())]
            if not len(near):
                break
            best = int(np.argmin(self.sizes[near] - self._shared[near]))
            chosen.append(int(near[best]))
            near = np.delete(near, best)
        for kind in inside:
            self._shared[self._hearers[kind]] = 0
        return chosen
