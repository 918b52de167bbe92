"""`python -m inside namespaced|confined --control FD …`: a fork server; `… single`: one box on stdin and stdout."""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sys

from . import confined, namespaced, single, zygote


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("namespaced", "confined", "single"))
    parser.add_argument("--control", help="descriptor of the control socket, or the path of one to connect to")
    parser.add_argument("--trees", default="/forge/trees")
    parser.add_argument("--boxes", default="")
    parser.add_argument("--first-uid", type=int, default=-1)
    parser.add_argument("--private", action="append", default=[])
    options = parser.parse_args()
    path = f"{os.path.dirname(sys.executable)}:/usr/local/bin:/usr/bin:/bin"
    program = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[:] = [entry for entry in sys.path if entry != program]
    if options.kind == "single":
        single.serve(path)
        return
    zygote.warm_up(options.trees)
    if options.kind == "namespaced":
        maker = namespaced.Maker(namespaced.Layout(private=tuple(options.private)), path)
        maker.prepare()
        zygote.serve(_control(options.control), maker, trees=options.trees)
    else:
        plain = confined.Maker(options.boxes, path, options.first_uid)
        plain.adopt()
        zygote.serve(_control(options.control), plain, trees=options.trees, forget=plain.forget)
        shutil.rmtree(os.path.dirname(options.boxes), ignore_errors=True)


def _control(where: str) -> socket.socket:
    if where.isdigit():
        return socket.socket(fileno=int(where))
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.connect(where)
    return control


main()
