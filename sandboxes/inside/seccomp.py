"""A seccomp filter as a BPF program made here: system calls that boxed code has no business with answer EPERM.

Docker's default profile is the model: no new namespaces, mounts, tracing, kernel keys, BPF, io_uring or modules. The
confined box also loses `socket`. x86_64 and aarch64; elsewhere `build` returns `None` and nothing is filtered.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

_X86 = (
    "ptrace=101 process_vm_readv=310 process_vm_writev=311 process_madvise=440 pidfd_getfd=438 kcmp=312 "
    "mount=165 umount2=166 pivot_root=155 chroot=161 move_mount=429 open_tree=428 fsopen=430 fsconfig=431 fsmount=432 "
    "fspick=433 mount_setattr=442 unshare=272 setns=308 bpf=321 perf_event_open=298 userfaultfd=323 io_uring_setup=425 "
    "io_uring_enter=426 io_uring_register=427 keyctl=250 add_key=248 request_key=249 kexec_load=246 kexec_file_load=320 "
    "init_module=175 finit_module=313 delete_module=176 reboot=169 swapon=167 swapoff=168 acct=163 quotactl=179 "
    "name_to_handle_at=303 open_by_handle_at=304 fanotify_init=300 settimeofday=164 clock_settime=227 syslog=103 "
    "iopl=172 ioperm=173 modify_ldt=154 personality=135 lookup_dcookie=212 vhangup=153 sethostname=170 setdomainname=171"
)
_ARM = (
    "ptrace=117 process_vm_readv=270 process_vm_writev=271 process_madvise=440 pidfd_getfd=438 kcmp=272 "
    "mount=40 umount2=39 pivot_root=41 chroot=51 move_mount=429 open_tree=428 fsopen=430 fsconfig=431 fsmount=432 "
    "fspick=433 mount_setattr=442 unshare=97 setns=268 bpf=280 perf_event_open=241 userfaultfd=282 io_uring_setup=425 "
    "io_uring_enter=426 io_uring_register=427 keyctl=219 add_key=217 request_key=218 kexec_load=104 kexec_file_load=294 "
    "init_module=105 finit_module=273 delete_module=106 reboot=142 swapon=224 swapoff=225 acct=89 quotactl=60 "
    "name_to_handle_at=264 open_by_handle_at=265 fanotify_init=262 settimeofday=170 clock_settime=112 syslog=116 "
    "personality=92 lookup_dcookie=18 vhangup=58 sethostname=161 setdomainname=162"
)
_MACHINES = {
    "x86_64": (0xC000003E, _X86, {"clone": 56, "clone3": 435, "socket": 41}),
    "aarch64": (0xC00000B7, _ARM, {"clone": 220, "clone3": 435, "socket": 198}),
}
_NEW_NAMESPACES = 0x7E020000
"""All CLONE_NEW* flags that `clone` takes."""
_LOAD, _EQUAL, _SET, _RETURN, _AT_LEAST = 0x20, 0x15, 0x45, 0x06, 0x35
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2


def build(*, sockets: bool) -> bytes | None:
    """The program for this machine; without `sockets` even a Unix one cannot be made (a socketpair can)."""
    if platform.machine() not in _MACHINES:
        return None
    arch, denied, special = _MACHINES[platform.machine()]
    numbers = [int(pair.partition("=")[2]) for pair in denied.split()]
    if not sockets:
        numbers.append(special["socket"])
    program = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    program += [(_AT_LEAST, 0, 1, 0x40000000), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    program += [(_EQUAL, 0, 1, special["clone3"]), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    program += [(_EQUAL, 0, 4, special["clone"]), (_LOAD, 0, 0, 16), (_SET, 0, 1, _NEW_NAMESPACES)]
    program += [(_RETURN, 0, 0, _ERRNO | errno.EPERM), (_RETURN, 0, 0, _ALLOW)]
    for number in numbers:
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
    program.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def install(program: bytes) -> None:
    """Filter this process and its children from now on; needs no-new-privileges. Raises `OSError`."""
    code = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    argument = Program(len(program) // 8, ctypes.cast(code, ctypes.c_void_p))
    if ctypes.PyDLL(None, use_errno=True).prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(argument), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")
