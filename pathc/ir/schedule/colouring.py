"""Clash-free cycles for any paths: edge colouring of the multigraph that joins source banks to destination banks.

A colour is a cycle, a path an edge; paths of one colour share no bank. By a theorem of Koenig the fullest bank
decides how many cycles are needed, and they suffice. Paths between the same two banks are alike, so matrices of
counts are coloured, not edges: a matrix whose rows and columns all add up to k is taken apart into matchings,
each of them used as often as its smallest entry allows (Birkhoff, 1946). The time taken depends on the number
of banks, hardly on that of the paths.
"""

from __future__ import annotations

import numpy as np

from pathc.ir.gf2 import IndexArray


def bound(source: IndexArray, destination: IndexArray, z: int) -> int:
    """Fewest cycles in which z lanes can process paths between these banks (int64 [paths] each)."""
    fullest = max(int(np.bincount(source).max()), int(np.bincount(destination).max()))
    return max(fullest, -(-len(source) // z))


def colour(source: IndexArray, destination: IndexArray, z: int) -> IndexArray:
    """Cycle of every path, 0 .. bound - 1: at most z paths a cycle, no two of them with a bank in common.

    `source` and `destination` are the banks of each path, int64 of shape [paths], at least one path.
    """
    counts = _counts(source, destination)
    cycles = bound(source, destination, z)
    rows, columns = counts.shape
    cells: list[IndexArray] = []
    starts: list[int] = []
    lengths: list[int] = []
    cycle = 0
    for length, partner in _matchings(_regular(counts, cycles, min(z, rows, columns))):
        real = np.flatnonzero(partner[:rows] < columns)
        cells.append(real * columns + partner[real])
        starts += [cycle] * len(real)
        lengths += [length] * len(real)
        cycle += length
    return _deal(source * columns + destination, np.concatenate(cells), np.array(starts), np.array(lengths))


def colour_reads(source: IndexArray, z: int) -> IndexArray:
    """The same for paths whose destinations need no banks of their own: paths are dealt out bank by bank."""
    cycles = bound(source, source, z)
    result = np.empty(len(source), np.int64)
    result[np.argsort(source, kind="stable")] = np.arange(len(source), dtype=np.int64) % cycles
    return result


def _counts(source: IndexArray, destination: IndexArray) -> IndexArray:
    shape = (int(source.max()) + 1, int(destination.max()) + 1)
    return np.bincount(source * shape[1] + destination, minlength=shape[0] * shape[1]).reshape(shape)


def _regular(counts: IndexArray, total: int, width: int) -> IndexArray:
    """A square matrix with all rows and columns adding up to `total` that holds `counts` in its corner.

    Every perfect matching of its non-zero entries has exactly `width` of them in that corner: the rows and
    columns added around it take up the rest, and do not meet each other.
    """
    rows, columns = counts.shape
    size = rows + columns - width
    matrix = np.zeros((size, size), np.int64)
    corner = matrix[:rows, :columns]
    corner += counts
    _fill(corner, total - corner.sum(axis=1), total - corner.sum(axis=0), width * total - int(counts.sum()))
    around = np.full(size - columns, total)
    _fill(matrix[:rows, columns:], total - corner.sum(axis=1), around, int(around.sum()))
    around = np.full(size - rows, total)
    _fill(matrix[rows:, :columns], around, total - corner.sum(axis=0), int(around.sum()))
    return matrix


def _fill(matrix: IndexArray, row_room: IndexArray, column_room: IndexArray, amount: int) -> None:
    """Add `amount` to entries in place without exceeding what rows and columns have room for."""
    rows, columns = row_room.tolist(), column_room.tolist()
    row = column = 0
    while amount:
        step = min(rows[row], columns[column], amount)
        matrix[row, column] += step
        rows[row] -= step
        columns[column] -= step
        amount -= step
        if not rows[row]:
            row += 1
        else:
            column += 1


def _matchings(matrix: IndexArray) -> list[tuple[int, IndexArray]]:
    """Perfect matchings (column of every row), and how often each is taken, that add up to the matrix."""
    size = len(matrix)
    every = np.arange(size)
    support = [int.from_bytes(np.packbits(row > 0, bitorder="little").tobytes(), "little") for row in matrix]
    partner, owner = [-1] * size, [-1] * size
    waiting = list(range(size))
    left = int(matrix[0].sum())
    found: list[tuple[int, IndexArray]] = []
    while left:
        for row in waiting:
            _augment(support, partner, owner, row)
        match = np.array(partner)
        length = int(matrix[every, match].min())
        matrix[every, match] -= length
        found.append((length, match))
        left -= length
        waiting = np.flatnonzero(matrix[every, match] == 0).tolist()
        for row in waiting:
            support[row] &= ~(1 << partner[row])
            owner[partner[row]] = partner[row] = -1
    return found


def _augment(support: list[int], partner: list[int], owner: list[int], root: int) -> None:
    """Match one more row, along a shortest alternating path; there always is one in a regular matrix."""
    free = sum(1 << column for column, row in enumerate(owner) if row < 0)
    unseen = (1 << len(owner)) - 1
    reached_from: dict[int, int] = {}
    queue = [root]
    for row in queue:
        if ends := support[row] & free:
            column = (ends & -ends).bit_length() - 1
            break
        new = support[row] & unseen
        unseen &= ~new
        while new:
            column = (new & -new).bit_length() - 1
            new &= new - 1
            reached_from[column] = row
            queue.append(owner[column])
    else:
        raise ValueError("no perfect matching")
    while True:
        before = partner[row]
        partner[row], owner[column] = column, row
        if row == root:
            return
        row, column = reached_from[before], before


def _deal(cell_of_path: IndexArray, cells: IndexArray, starts: IndexArray, lengths: IndexArray) -> IndexArray:
    """Cycle of every path: paths of a cell take, in their order, the first cycles the cell is matched in."""
    order = np.argsort(cells, kind="stable")
    cells, starts, lengths = cells[order], starts[order], lengths[order]
    slot_cells = np.repeat(cells, lengths)
    first = np.repeat(np.cumsum(lengths) - lengths, lengths)
    slot_cycles = np.repeat(starts, lengths) + np.arange(len(slot_cells)) - first
    rank = np.arange(len(slot_cells)) - np.searchsorted(slot_cells, slot_cells)
    paths = np.argsort(cell_of_path, kind="stable")
    sorted_cells = cell_of_path[paths]
    held = np.searchsorted(sorted_cells, slot_cells, side="right") - np.searchsorted(sorted_cells, slot_cells)
    result = np.empty(len(cell_of_path), np.int64)
    result[paths] = slot_cycles[rank < held]
    return result
