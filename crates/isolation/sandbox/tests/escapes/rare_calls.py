"""System calls that no safe function makes, by their numbers. The first argument says which: `all` prints a line for each call, with
what it is answered; `work` does what a trainer does; any other makes one call that ends the process where it is sealed."""

import ctypes
import errno
import mmap
import os
import platform
import socket
import struct
import subprocess
import sys
import threading

libc = ctypes.CDLL(None, use_errno=True)
intel = platform.machine() == "x86_64"
here, parent = os.getpid(), os.getppid()
queued = struct.pack("iii116x", 0, 0, -1)
space = ctypes.create_string_buffer(4096)

# Name, number on x86_64, number on aarch64, arguments. The arguments do no harm where the call is let through.
CALLS = [
    ("add_key", 248, 217, (b"user", b"row", b"61,1", 4, -2)),
    ("adjtimex", 159, 171, (space,)),
    ("bpf", 321, 280, (0, 0, 0)),
    ("capset", 126, 91, (0, 0)),
    ("clone3", 435, 435, (0, 0)),
    ("execveat", 322, 281, (-1, b"", 0, 0, 0x1000)),
    ("fanotify_init", 300, 262, (-1, 0)),
    ("fcntl F_SETOWN", 72, 25, (0, 8, here)),
    ("finit_module", 313, 273, (-1, b"", 0)),
    ("fsmount", 432, 432, (-1, 0, 0)),
    ("init_module", 175, 105, (0, 0, b"")),
    ("io_uring_setup", 425, 425, (1, space)),
    ("ioctl TIOCSTI", 16, 29, (0, 0x5412, b"r")),
    ("iopl", 172, None, (0,)),
    ("kcmp", 312, 272, (here, here, 0, 0, 0)),
    ("keyctl", 250, 219, (0, -3, 0)),
    ("landlock_create_ruleset", 444, 444, (0, 0, 1)),
    ("linkat", 265, 37, (-1, b"a", -1, b"b", 0)),
    ("memfd_secret", 447, 447, (-1,)),
    ("migrate_pages", 256, 238, (parent, 0, 0, 0)),
    ("mlockall", 151, 230, (0,)),
    ("mount", 165, 40, (0, 0, 0, 0, 0)),
    ("mount_setattr", 442, 442, (-1, 0, 0, 0, 0)),
    ("move_mount", 429, 429, (-1, b"", -1, b"", 0)),
    ("move_pages", 279, 239, (parent, 0, 0, 0, 0, 0)),
    ("msgget", 68, 186, (0x666F6C6B, 0)),
    ("name_to_handle_at", 303, 264, (-100, b"/", space, space, 0)),
    ("open_by_handle_at", 304, 265, (-1, 0, 0)),
    ("open_tree", 428, 428, (-1, b"", 0)),
    ("openat2", 437, 437, (-100, b"/", 0, 0)),
    ("perf_event_open", 298, 241, (0, 0, -1, -1, 0)),
    ("personality", 135, 92, (0x0040000,)),
    ("pidfd_send_signal", 424, 424, (-1, 0, 0, 0)),
    ("pivot_root", 155, 41, (0, 0)),
    ("prctl PR_SET_SECCOMP", 157, 167, (22, 9, 0)),
    ("prctl PR_SET_SECUREBITS", 157, 167, (28, 0)),
    ("process_vm_writev", 311, 271, (parent, 0, 0, 0, 0, 0)),
    ("ptrace", 101, 117, (0, 0, 0, 0)),
    ("quotactl", 179, 60, (0, 0, 0, 0)),
    ("reboot", 169, 142, (0, 0, 0, 0)),
    ("request_key", 249, 218, (b"user", b"none", 0, 0)),
    ("rt_sigqueueinfo", 129, 138, (parent, 0, queued)),
    ("seccomp", 317, 277, (2, 0, space)),
    ("semget", 64, 190, (0x666F6C6B, 1, 0)),
    ("sched_setscheduler", 144, 119, (0, 0, space)),
    ("setns", 308, 268, (-1, 0)),
    ("setpgid", 109, 154, (0, 0)),
    ("settimeofday", 164, 170, (0, 0)),
    ("shmget", 29, 194, (0x666F6C6B, 0, 0)),
    ("splice", 275, 76, (-1, 0, -1, 0, 1, 0)),
    ("swapon", 167, 224, (0, 0)),
    ("syslog", 103, 116, (10, 0, 0)),
    ("timer_create", 222, 107, (0, 0, space)),
    ("tkill", 200, 130, (parent, 0)),
    ("umount2", 166, 39, (0, 0)),
    ("unshare", 272, 97, (0,)),
    ("userfaultfd", 323, 282, (1,)),
    ("vmsplice", 278, 75, (-1, 0, 0, 0)),
]


def call(number, arguments):
    result = libc.syscall(ctypes.c_long(number), *arguments)
    return errno.errorcode[ctypes.get_errno()] if result == -1 else "done"


def by_32_bits():
    # mov eax, 20 (getpid); int 0x80; ret
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes.fromhex("b814000000cd80c3"))
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    ctypes.CFUNCTYPE(ctypes.c_int)(address)()


def fork():
    if os.fork() == 0:
        os._exit(0)


def clone():
    if libc.syscall(ctypes.c_long(56 if intel else 220), 17, 0, 0, 0, 0) == 0:
        os._exit(0)


def work():
    stream = socket.socket(fileno=0)
    assert stream.recv(1) == b"!"
    with open(os.path.join(sys.argv[2], "data", "table.csv")) as table, open(os.path.join(sys.argv[2], "task", "copy"), "w") as copy:
        copy.write(table.read())
    sums = []
    threads = [threading.Thread(target=lambda: sums.append(sum(range(1000)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == [499500] * 8 and len(os.urandom(8)) == 8
    stream.sendall(bytes(1 << 20))


FATAL = {
    "clone": clone,
    "fork": fork,
    "vfork": lambda: subprocess.run(["/bin/true"], check=True),
    "x32": lambda: call(0x40000000 + 39, ()) if intel else os.fork() or os._exit(0),
    "int 0x80": lambda: by_32_bits() if intel else os.fork() or os._exit(0),
}

if sys.argv[1] == "all":
    for name, on_intel, on_arm, arguments in CALLS:
        number = on_intel if intel else on_arm
        if number is not None:
            print(f"{name}: {call(number, arguments)}", flush=True)
elif sys.argv[1] == "work":
    work()
else:
    FATAL[sys.argv[1]]()
