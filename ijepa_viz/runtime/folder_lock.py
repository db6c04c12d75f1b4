"""The lock of a run's folder: one training at a time writes there, and the lock dies with its process."""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import socket
import sys
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

LOCK = "run.lock"

# Of file systems without locks: Lustre and some network file systems, by their mount options.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}

_open: set[int] = set()


class FolderLock:
    """An exclusive ``flock`` on the file ``run.lock`` of a folder.

    The kernel frees it when the process ends, however it ends: a file that a killed process leaves behind locks
    nothing. On NFS, Linux asks the server, so that other machines see it as well; of a machine that crashed the
    server frees it when its lease runs out, a minute or two later. Mounted with ``nolock`` or ``local_lock`` it
    protects from processes of the same machine only. Where a file system has no locks, a line on stderr says that.

    Args:
        folder: made by :meth:`acquire`, and removed by :meth:`release` where it is empty then.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._release: weakref.finalize | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._release is not None and self._release.alive

    def acquire(self) -> None:
        """Lock the folder; nothing happens where this object holds it already.

        Raises:
            FileExistsError: another holds it; the message says who.
            OSError: the folder cannot be made or written to.
        """
        if self.held:
            return
        made = [parent for parent in (self.folder, *self.folder.parents) if not parent.exists()]
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / LOCK
        try:
            descriptor = _lock(path)
            if descriptor is None and _holder(path).get("pid") == os.getpid():
                gc.collect()  # perhaps a trainer that was dropped and not collected yet
                descriptor = _lock(path)
            if descriptor is None:
                raise FileExistsError(self._in_use(_holder(path)))
        except BaseException:
            _remove_empty(made)
            raise
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        _open.add(descriptor)
        self._release = weakref.finalize(self, _free, descriptor, path, made, os.getpid())
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        except OSError as error:
            self.release()
            raise OSError(f"{path} could not be written ({error.strerror}).") from error

    def release(self) -> None:
        """Free the lock and remove its file; nothing happens where it is not held."""
        if self._release is not None:
            self._release()

    @contextlib.contextmanager
    def released_on_error(self) -> Iterator[None]:
        """Free the lock where the block raises."""
        try:
            yield
        except BaseException:
            self.release()
            raise

    def _in_use(self, holder: dict[str, object]) -> str:
        pid, host = holder.get("pid"), holder.get("host")
        if (pid, host) == (os.getpid(), socket.gethostname()):
            who, mend = "another training of this very process", "Let it finish or delete it"
        else:
            who = f"process {pid} on {host} (since {holder.get('since')})" if holder else "another process"
            mend = "Let it finish or stop it"
        crashed = (
            " (If that machine has crashed, the lock is freed after a minute or two.)"
            if holder and host != socket.gethostname()
            else ""
        )
        return f"{self.folder} is in use: {who} trains in it. {mend}, or set run.folder=...{crashed}"


def _lock(path: Path) -> int | None:
    """A descriptor of the locked file; None where another holds the lock."""
    import fcntl  # late: Windows has none, and reads runs without training

    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                os.close(descriptor)
                return None
            if error.errno not in _NO_LOCKS:
                os.close(descriptor)
                raise
            print(
                f"The file system of {path.parent} has no locks ({error.strerror}): a second run in this folder would "
                "not be noticed.",
                file=sys.stderr,
            )
            return descriptor
        # The holder before may have removed the file between our opening and our locking of it.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)


def _holder(path: Path) -> dict[str, object]:
    """Who holds the lock, as its file says; empty where it says nothing."""
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, FileNotFoundError):  # between two of the other process's system calls
        return {}
    return found if isinstance(found, dict) else {}


def _free(descriptor: int, path: Path, made: Sequence[Path], pid: int) -> None:
    """Free the lock: remove the file while it is locked, then close it."""
    if pid != os.getpid():
        return  # a forked process, which has closed its descriptor
    path.unlink(missing_ok=True)
    _open.discard(descriptor)
    os.close(descriptor)
    _remove_empty(made)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders that are empty, innermost first."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:  # something was written there, or another has removed it
            return


def _close_in_child() -> None:
    """A lock lasts while any process has its descriptor open: a forked one shall not keep it."""
    for descriptor in _open:
        os.close(descriptor)
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
