"""A run on a disk of its own that is full, and that gets room later: ``python -m tests.full_disk KIB OPTIONS``."""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.killing import train

NO_MOUNT = 77
"""Exit status where this system lets no user mount a tmpfs."""
_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000


def own_mounts() -> bool:
    """Lets this process mount what ends with it, as ``unshare --mount --map-root-user`` does. Tells if that worked."""
    user, group = os.getuid(), os.getgid()
    if ctypes.CDLL(None).unshare(_NEW_MOUNTS | _NEW_USER) != 0:
        return False
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        Path("/proc/self", name).write_text(text)
    return True


def status_of(args: Sequence[str]) -> int:
    """The exit status of a run, in a process of its own."""
    pid = os.fork()
    if pid == 0:
        sys.argv[1:] = args
        train()
        sys.exit()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(kibibytes: str, *args: str) -> None:
    """Runs until the disk is full, goes on when there is room, and keeps the run when the disk goes."""
    Path("lightning_logs").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", "lightning_logs"]
    if not own_mounts() or subprocess.run(mount, check=False).returncode != 0:
        sys.exit(NO_MOUNT)
    assert status_of(args) == 2
    subprocess.run(["mount", "-o", "remount,size=64m", "lightning_logs"], check=True)
    assert status_of(["--resume"]) == 0
    shutil.copytree("lightning_logs", "kept")
    subprocess.run(["umount", "lightning_logs"], check=True)
    Path("lightning_logs").rmdir()
    Path("kept").rename("lightning_logs")


if __name__ == "__main__":
    main(*sys.argv[1:])
