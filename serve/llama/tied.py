"""`python tied.py PARENT PROGRAM …`: becomes the program, which the kernel kills as soon as the process PARENT is gone.

A script of its own, run by a bare interpreter, since code between fork and exec of a process with threads may hang it. It needs
nothing of forge. It does not end what the program itself starts.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then become the program."""
    parent, program = int(sys.argv[1]), sys.argv[2]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before it could be tied to
        sys.exit(1)
    os.execv(program, sys.argv[2:])  # noqa: S606  a shell is not wanted


if __name__ == "__main__":
    main()
