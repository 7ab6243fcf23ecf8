"""Processes on their cores, and what they cost: CPU time, memory, and who else was running."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time

PROXY_CORE = int(os.environ.get("BENCH_PROXY_CORE", "0"))
LOAD_CORE = int(os.environ.get("BENCH_LOAD_CORE", "1"))
TICK = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1

running = []


def open_file_limit():
    """The most descriptors a process may have here; raised to 65536 where that is allowed."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for limit in (65536, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, hard)))
            break
        except (ValueError, OSError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def start(command, core, **options):
    """Starts a command on one core; it ends with this script, whatever ends this script."""
    libc = ctypes.CDLL(None)

    def prepare():
        # A group, not a session: the kernel shares a core out by session first, and the spinner below would get its own share.
        os.setpgid(0, 0)
        os.sched_setaffinity(0, {core})
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    options = {"stdin": subprocess.DEVNULL, "preexec_fn": prepare, **options}
    process = subprocess.Popen([str(part) for part in command], **options)
    running.append(process)
    return process


def stop(process):
    """Ends a process that `start` gave, with its group."""
    if process not in running:
        return
    running.remove(process)
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def stop_all():
    """Ends all that is still running, the youngest first."""
    for process in reversed(list(running)):
        stop(process)


def tree(pid):
    """A process and its descendants."""
    found = [pid]
    for parent in found:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children", encoding="ascii") as children:
                    found.extend(int(child) for child in children.read().split())
        except OSError:
            continue
    return found


def cpu_ns(pid):
    """CPU time of a process tree's threads so far, in nanoseconds."""
    total = 0
    for member in tree(pid):
        try:
            for task in os.listdir(f"/proc/{member}/task"):
                with open(f"/proc/{member}/task/{task}/schedstat", encoding="ascii") as stat:
                    total += int(stat.read().split()[0])
        except OSError:
            continue
    return total


def rss_kib(pid):
    """Resident memory of a process tree in KiB."""
    total = 0
    for member in tree(pid):
        with open(f"/proc/{member}/status", encoding="ascii") as status:
            total += sum(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
    return total


def core_busy_seconds(core):
    """Seconds in which a core ran anything since the machine started."""
    with open("/proc/stat", encoding="ascii") as stat:
        for line in stat:
            if line.startswith(f"cpu{core} "):
                user, nice, system, _idle, _wait, irq, soft = map(int, line.split()[1:8])
                return (user + nice + system + irq + soft) / TICK
    return 0.0


class Meter:
    """CPU of a process tree over a `with` block, and the share of its core that others took meanwhile.

    `besides` is a process on that core which is no disturbance.
    """

    def __init__(self, process, besides=None):
        self.pid = process.pid
        self.besides = besides.pid if besides else None
        self.cpu_s = self.wall_s = self.others = 0.0

    def __enter__(self):
        self._busy = core_busy_seconds(PROXY_CORE)
        self._begin = time.monotonic()
        self._besides = self._besides_ns()
        self._cpu = cpu_ns(self.pid)
        return self

    def __exit__(self, *_):
        self.cpu_s = (cpu_ns(self.pid) - self._cpu) / 1e9
        self.wall_s = time.monotonic() - self._begin
        busy = core_busy_seconds(PROXY_CORE) - self._busy
        known = self.cpu_s + (self._besides_ns() - self._besides) / 1e9
        self.others = max(0.0, (busy - known) / self.wall_s)

    def _besides_ns(self):
        return cpu_ns(self.besides) if self.besides else 0


class AwakeCore:
    """Keeps the proxy's core from halting over a `with` block, with a spinner that gives way to anything else.

    At a low rate a virtual core sleeps between requests, and its host's time to wake it would be what is measured.
    """

    def __enter__(self):
        self.spinner = start(["chrt", "-i", "0", sys.executable, "-c", "while True: pass"], PROXY_CORE)
        return self

    def __exit__(self, *_):
        stop(self.spinner)


def describe():
    """The machine in one line."""
    model = "unknown CPU"
    with open("/proc/cpuinfo", encoding="ascii") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{model}, {os.cpu_count()} cores, Linux {os.uname().release}"
