"""Reading bounded and writing whole files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pathc.support.diagnostics import error


def memory_limit() -> int:
    """Bytes of main memory that one value may take: half of what the machine has."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return 1 << 32


def read_bounded(path: str | Path, limit: int | None = None) -> bytes:
    """The bytes of a file of at most `limit` bytes (half the memory unless given).

    Raises PathcError: E0501 if it cannot be read, E0502 if it is larger.
    """
    check_readable(path, limit)
    try:
        return Path(path).read_bytes()
    except OSError as reason:
        raise error("E0501", f"cannot read `{path}`: {reason.strerror or reason}") from reason


def check_readable(path: str | Path, limit: int | None = None) -> int:
    """Size in bytes of a regular file of at most `limit` bytes (half the memory unless given).

    Raises PathcError: E0501 if it is no file that can be read, E0502 if it is larger.
    """
    limit = memory_limit() if limit is None else limit
    try:
        status = os.stat(path)
        regular = Path(path).is_file()
    except (OSError, ValueError) as reason:
        text = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
        raise error("E0501", f"cannot read `{path}`: {text}", help="check the path") from reason
    if not regular:
        raise error("E0501", f"cannot read `{path}`: it is no regular file", help="give the path of a file")
    if status.st_size > limit:
        message = f"`{path}` has {status.st_size} bytes, more than the {limit} that may be taken here"
        raise error("E0502", message, help="use a machine with more memory, or a smaller file")
    return status.st_size


def graph_file(path: str | Path) -> Path:
    """Where a graph is written, with `.pir` added to a name without a suffix.

    Raises PathcError: E0503 for what names no file, such as a root, E0510 for another suffix.
    """
    target = Path(path)
    if not target.name:
        raise error("E0503", f"cannot write `{path}`: it names no file", help="give the name of a file")
    if target.suffix.lower() not in ("", ".pir"):
        raise error("E0510", f"`{path}` is no graph file by its name", help="use the suffix .pir")
    return target if target.suffix else target.with_suffix(".pir")


def check_apart(target: Path, suffixes: Iterable[str], read: Iterable[str | Path]) -> None:
    """Raise PathcError E1107 if a file of these suffixes, written beside a target, is one that is read."""
    sources = {Path(source).resolve(): source for source in read}
    for suffix in suffixes:
        written = target.with_suffix(suffix)
        if written.resolve() in sources:
            text = f"`{written}`, written beside `{target}`, would replace `{sources[written.resolve()]}`"
            raise error("E1107", text, help="give `-o` another name")


def write_atomically(path: str | Path, data: bytes | str) -> None:
    """Write a whole file or leave what was there: a temporary file beside it is renamed onto it.

    Links are followed. Devices and pipes, `/dev/stdout` among them, are written to as they are. Text is encoded as
    UTF-8. Raises PathcError E0503 if it cannot be written, BrokenPipeError if the reader of a pipe went away.
    """
    target = Path(os.path.realpath(path))
    payload = data.encode(errors="replace") if isinstance(data, str) else data
    temporary = ""
    try:
        # Not by the target: the link of /dev/stdout to a pipe leads to a name that is no file's.
        if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
            Path(path).write_bytes(payload)
            return
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode_of_new_files(target))
        os.replace(temporary, target)
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as reason:
        text = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
        raise error("E0503", f"cannot write `{path}`: {text}", help="check folder and permissions") from reason
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _mode_of_new_files(target: Path) -> int:
    """The mode the target has, or the one an ordinary new file would get."""
    try:
        return target.stat().st_mode & 0o777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
