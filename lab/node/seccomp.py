"""The runtime's default system-call filter (``seccompProfile: RuntimeDefault``).

A container needs none of these calls, each has been a way out of one, and Docker's default profile refuses them too
(docs.docker.com/engine/security/seccomp, "significant syscalls blocked").
"""

from __future__ import annotations

import errno
import platform

from lab.api import Object

_DENIED = (
    *("acct", "add_key", "bpf", "clock_adjtime", "clock_settime", "create_module", "delete_module"),
    *("finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "get_kernel_syms", "init_module", "io_uring_enter"),
    *("io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl"),
    *("lookup_dcookie", "mount", "mount_setattr", "move_mount", "name_to_handle_at", "nfsservctl"),
    *("open_by_handle_at", "open_tree", "perf_event_open", "pivot_root", "process_vm_readv", "process_vm_writev"),
    *("ptrace", "query_module", "quotactl", "quotactl_fd", "reboot", "request_key", "setns", "settimeofday"),
    *("stime", "swapoff", "swapon", "sysfs", "_sysctl", "umount", "umount2", "unshare", "uselib", "userfaultfd"),
    *("ustat", "vhangup", "vm86", "vm86old"),
)
# CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}
_NAMESPACES = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
_ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}


def runtime_default() -> Object:
    """Return the OCI ``linux.seccomp`` section: no new namespaces, mounts, modules, tracing or kernel keys."""

    def refuse(names: list[str], number: int = errno.EPERM, **more: object) -> Object:
        return {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": number, **more}

    flags = [{"index": 0, "value": f, "valueTwo": f, "op": "SCMP_CMP_MASKED_EQ"} for f in _NAMESPACES]
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [_ARCHITECTURES[platform.machine()]],
        "syscalls": [
            refuse(list(_DENIED)),
            *(refuse(["clone"], args=[flag]) for flag in flags),
            refuse(["clone3"], errno.ENOSYS),  # its flags are behind a pointer; the C library falls back to clone
        ],
    }
