"""The result of a sweep: a row per net with mean and spread over the seeds, as table, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pathc.support.files import write_atomically
from pathc.train.cells import Record


@dataclass(frozen=True)
class Row:
    """One net: accuracies in percent are of the test set after the last epoch, None where there is none.

    `spread` is the sample standard deviation over the seeds, `seconds` the mean time of an epoch.
    """

    model: str
    sets: str
    paths: int
    weights: int
    seeds: int
    accuracy: float | None
    spread: float | None
    least: float | None
    most: float | None
    loss: float
    seconds: float


def rows_of(records: Sequence[Record]) -> list[Row]:
    """Rows in the order in which their nets first occur; cells that failed are left out."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if not record.get("errors") and record.get("history"):
            sets = " ".join(f"{name}={value}" for name, value in record["sets"].items())
            groups.setdefault((record["model"], sets), []).append(record)
    return [_row(Path(model).stem, sets, group) for (model, sets), group in groups.items()]


def _row(model: str, sets: str, group: Sequence[Record]) -> Row:
    last = [record["history"][-1] for record in group]
    accuracies = [100.0 * h["test_accuracy"] for h in last if h["test_accuracy"] is not None]
    losses = [h["loss"] if h["test_loss"] is None else h["test_loss"] for h in last]
    epochs = [h["seconds"] for record in group for h in record["history"]]
    return Row(
        model,
        sets,
        group[0]["paths"],
        group[0]["weights"],
        len(group),
        statistics.fmean(accuracies) if accuracies else None,
        statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        min(accuracies, default=None),
        max(accuracies, default=None),
        statistics.fmean(losses),
        statistics.fmean(epochs),
    )


def table(rows: Sequence[Row], width: int = 120) -> str:
    """The rows as a table for people."""
    from rich.console import Console
    from rich.table import Table

    made = Table(caption="accuracy on the test set in percent, mean and sample standard deviation over the seeds")
    for head in ("model", "set"):
        made.add_column(head, overflow="fold")
    for head in ("paths", "weights", "seeds", "accuracy", "spread", "least", "most", "loss", "epoch"):
        made.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        made.add_row(
            row.model,
            row.sets,
            f"{row.paths:,}" if row.paths else "-",
            f"{row.weights:,}",
            str(row.seeds),
            *(f"{value:.2f}" if value is not None else "-" for value in (row.accuracy, row.spread)),
            *(f"{value:.2f}" if value is not None else "-" for value in (row.least, row.most)),
            f"{row.loss:.4f}",
            f"{row.seconds:.2f} s",
        )
    out = io.StringIO()
    Console(file=out, width=width, no_color=True).print(made)
    return out.getvalue()


def write_results(folder: str | Path, records: Sequence[Record]) -> list[Path]:
    """Write `results.csv` and `results.json` into a folder; raises PathcError E0503."""
    rows = [asdict(row) for row in rows_of(records)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Row.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files = {"results.csv": text.getvalue(), "results.json": json.dumps(rows, indent=1) + "\n"}
    for name, data in files.items():
        write_atomically(Path(folder) / name, data)
    return [Path(folder) / name for name in files]
