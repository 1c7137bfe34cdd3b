"""The object cache: compiled kernels on disk, named by what they were compiled from.

A file is a magic word, the key, the SHA-256 of the object and the object. It is written beside its place and
renamed, so that readers see all of it or nothing; what fails its hash is deleted and compiled again. Loading an
object means running it, so a directory that other users may write to is not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from pathc.support.diagnostics import PathcError
from pathc.support.files import write_atomically

_MAGIC = b"pathc object 1\n\0"
_KEY = 32
_HEAD = len(_MAGIC) + 2 * _KEY
_KEPT = 0.75


@dataclass(frozen=True)
class Cache:
    """A directory of objects, at most `limit` bytes; `folder` None switches it off, `note` says why.

    `get` and `put` never fail: a cache that cannot be read or written is a slow one.
    """

    folder: Path | None
    limit: int = 256 << 20
    note: str = ""

    def path(self, key: bytes) -> Path | None:
        """Where the object of a 32-byte key lies."""
        return self.folder / f"{key.hex()}.o" if self.folder else None

    def get(self, key: bytes) -> bytes | None:
        """The object of this key, or None; a damaged file is removed."""
        path = self.path(key)
        if path is None:
            return None
        try:
            data = path.read_bytes()
        except OSError:
            return None
        found = data[_HEAD:]
        if data[:_HEAD] != _header(key, found):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return found

    def put(self, key: bytes, data: bytes) -> bool:
        """Store an object atomically, dropping the least recently used if there are too many; False if it failed."""
        path = self.path(key)
        if path is None or len(data) + _HEAD > self.limit:
            return False
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(path, _header(key, data) + data)
        except (OSError, PathcError):
            return False
        self._evict(keep=path)
        return True

    def _evict(self, keep: Path) -> None:
        """Remove the least recently used files until three quarters of the limit are left."""
        entries: list[tuple[int, int, Path]] = []
        for path in keep.parent.glob("*.o"):
            with contextlib.suppress(OSError):
                facts = path.stat()
                entries.append((facts.st_mtime_ns, facts.st_size, path))
        total = sum(size for _, size, _ in entries)
        if total <= self.limit:
            return
        for _, size, path in sorted(entries):
            if total <= self.limit * _KEPT:
                return
            if path != keep:
                with contextlib.suppress(OSError):
                    path.unlink()
                    total -= size


def open_cache() -> Cache:
    """The cache the environment names: `PATHC_CACHE` (a directory, or `off`), else the user's cache directory.

    `PATHC_CACHE_MB` sets the limit in MiB (256).
    """
    wish = os.environ.get("PATHC_CACHE", "")
    if wish.lower() in ("off", "0", "no"):
        return Cache(None, note="the object cache is switched off (PATHC_CACHE): every kernel is compiled anew")
    home = os.environ.get("XDG_CACHE_HOME", "")
    try:
        base = Path(wish) if wish else (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "pathc"
    except RuntimeError:
        return Cache(None, note="there is no home directory, so no object cache: every kernel is compiled anew")
    size = os.environ.get("PATHC_CACHE_MB", "256")
    limit = (int(size) if size.isdecimal() and len(size) < 8 else 256) << 20
    folder = base / "objects"
    if not _private(base) or not _private(folder):
        return Cache(None, limit, f"other users may write to {folder}: the object cache is not used")
    return Cache(folder, limit)


def key_of(*parts: str) -> bytes:
    """The 32-byte key of these texts, in order."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.digest()


def _header(key: bytes, data: bytes) -> bytes:
    return _MAGIC + key + hashlib.sha256(key + data).digest()


def _private(folder: Path) -> bool:
    """Whether only this user can put files there; a folder yet to be made is."""
    try:
        facts = folder.stat()
    except OSError:
        return True
    if not hasattr(os, "geteuid"):
        return True
    return facts.st_uid == os.geteuid() and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
