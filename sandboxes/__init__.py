"""Boxes that strange code runs in, and the grades that are earned in them.

In: an unpacked source tree, files, commands, pytest node ids. Out: `CommandResult`, `TestRun`, `Verdict`.
Never: a network, a capability, a box used twice, a verdict read from a file that the code under test could write.

    pick.py      which provider this machine can have, and why        grading.py  patch → verdict in a fresh box
    local.py     bubblewrap and namespaces     ┐                      paths.py    which paths may be written, which are dropped
    docker.py    Docker or Podman              ├─ providers           images.py   the image that Docker boxes run in
    confined.py  no namespaces: trusted only   ┘
    zygote.py    host side of a fork server    client.py  host side of one box
    harness.py   instances of public sets, by their own script: errand.py one script in a container of any image,
                 log_grading.py and status_map.py what its log says, history.py whether an image tells the future
    image_store.py  images looked for, pulled and built
    inside/      the program on the other side: standard library and pytest only, the same for every provider
"""
