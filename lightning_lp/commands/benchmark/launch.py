"""Runs a program and prints as a last line how long it took and the most memory that it had, as JSON.

``python -m lightning_lp.commands.benchmark.launch PROGRAM ...``. Needs the standard library alone: where a large
process starts another, Linux counts the memory of the large one as the other's peak.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence


def main(command: Sequence[str]) -> int:
    """Runs the program. Returns its exit status."""
    start = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.STDOUT) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    spent, unit = time.perf_counter() - start, 2**20 if sys.platform == "darwin" else 2**10
    print("\n" + json.dumps({"seconds": spent, "peak_mib": usage.ru_maxrss / unit}))
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
