"""Child processes that never outlive their parent.

A child that survives a `kill -9` of its parent is found by its record under .sluice/run/ and ended by the next run."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import randrange

from sluice.core.atomic_files import read_json, write_json
from sluice.core.errors import SluiceError

_PR_SET_PDEATHSIG = 1
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
_STARTER = "SLUICE_STARTER"  # in a child's environment: who started it, as process and start time
_CLAIMS: list[socket.socket] = []  # UDP, on the ports given out by free_port: until this process ends
_CLOCK = 2.0  # seconds by which a start time may change: it rests on the clock, which may be set


def die_with_parent(how: signal.Signals = signal.SIGTERM) -> None:
    """Ask the Linux kernel to signal this process when its parent dies; do nothing on other systems."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(how))


def watch_parent(*, every: float = 1.0, again: float = 8.0, last: float = 12.0) -> None:
    """End this process when its parent has died and the signal of that was lost: it becomes an exception, which a
    library may catch. Also when the Sluice process that started it has died: a shell between them lives on and signals
    nothing."""
    parent = os.getppid()
    starter, _, began = os.environ.get(_STARTER, "").partition(" ")

    def watch() -> None:
        while os.getppid() == parent and (not began or _is_same(int(starter), float(began))):
            time.sleep(every)
        if os.getppid() != parent:
            time.sleep(again)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(last)
        os.kill(os.getpid(), signal.SIGKILL)

    with interrupts_deferred():  # a thread inherits what is blocked: signals stay with the main thread
        threading.Thread(target=watch, name="watch-parent", daemon=True).start()


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the block has ended, in the main thread.

    To block them is not enough: the kernel gives a signal to any thread that doesn't block it, such as one of numpy's,
    and Python calls the handler in the main thread. Threads that start in the block leave signals to the main
    thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    try:
        with ExitStack() as undo:
            for how in _INTERRUPTS:
                before = signal.signal(how, lambda number, _: arrived.append(number))
                undo.callback(signal.signal, how, before)
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
            undo.callback(signal.pthread_sigmask, signal.SIG_SETMASK, mask)  # undone first: what is pending is noted
            yield
    finally:
        for number in arrived:
            signal.raise_signal(number)


@dataclass
class Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path
    record: Path = field(repr=False)

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def tail(self, lines: int = 15) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def stop(self, grace: float = 15.0) -> int:
        """Send SIGTERM to the child, then after `grace` seconds SIGKILL to its group. Return the exit status."""
        if self.running:
            self.process.terminate()
        try:
            status = self.process.wait(grace)
        except subprocess.TimeoutExpired:
            _signal_group(self.process.pid, signal.SIGKILL)
            status = self.process.wait(60)
        _signal_group(self.process.pid, signal.SIGKILL)
        self.record.unlink(missing_ok=True)
        return status


def _signal_group(group: int, how: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, how)


def start(
    name: str,
    argv: Sequence[str],
    *,
    state: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int = subprocess.DEVNULL,
) -> Child:
    """Start a program; its output goes to logs/<name>.log, its record to run/<name>-<pid>.json."""
    log = state / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)  # what a killed run left alive goes on in the old file, not over these lines
    began = time.time()
    try:
        with log.open("wb") as stream:
            process = subprocess.Popen(
                list(argv),
                stdin=stdin,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, _STARTER: f"{os.getpid()} {_started(os.getpid())}", **(env or {})},
                cwd=cwd,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
    except (FileNotFoundError, PermissionError) as error:
        remedy = "run `make setup` to install it again"
        raise SluiceError(f"{name}: {error.filename} cannot be run ({error.strerror})", remedy=remedy) from error
    record = state / "run" / f"{name}-{process.pid}.json"
    started = _started(process.pid) or began  # it may have ended by now and have left children
    write_json(record, {"name": name, "pid": process.pid, "started": started, "argv": list(argv)})
    return Child(name, process, log, record)


def _started(pid: int) -> float:
    """Return when a process was started, in seconds since 1970; 0 if it has ended."""
    import psutil

    try:
        process = psutil.Process(pid)
        return 0 if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return 0


def _is_same(pid: int, started: float) -> bool:
    """Return whether the process that was started then still lives; a recycled pid has another start time."""
    return abs(_started(pid) - started) < _CLOCK


def is_running(pid: int) -> bool:
    return bool(_started(pid))


def _left_behind(leader: int, started: float) -> list[int]:
    """Return the living processes of a leader's group: a stage may outlive the program that ran it."""
    import psutil

    if not started or (is_running(leader) and not _is_same(leader, started)):
        return []
    return [pid for pid in psutil.pids() if _group(pid) == leader and _started(pid) > started - _CLOCK]


def _group(pid: int) -> int:
    with suppress(ProcessLookupError, PermissionError):
        return os.getpgid(pid)
    return 0


def reap(state: Path) -> list[str]:
    """End children that a killed run left behind, and their children. Return the names of the former."""
    ended = []
    for record in sorted((state / "run").glob("*.json")):
        entry = read_json(record)
        pid, started = int(entry["pid"]), float(entry["started"])
        if _left_behind(pid, started):
            _signal_group(pid, signal.SIGTERM)
            wait_until(lambda p=pid, s=started: not _left_behind(p, s), seconds=10)  # type: ignore[misc]
            _signal_group(pid, signal.SIGKILL)
            ended.append(str(entry["name"]))
        record.unlink(missing_ok=True)
    return ended


def program(name: str) -> Path:
    """Return a program of the running environment."""
    path = Path(sys.executable).parent / name
    if not path.is_file():
        raise SluiceError(f"{path}: no such file", remedy="install the locked requirements: make setup")
    return path


def free_port() -> int:
    """Return a free loopback TCP port, below those that systems hand out. No other caller gets it."""
    while True:
        claim, port = socket.socket(type=socket.SOCK_DGRAM), randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            claim.bind(("127.0.0.1", port))
            probe.bind(("127.0.0.1", port))
            _CLAIMS.append(claim)
            return port
        claim.close()


def require_port(port: int, host: str = "127.0.0.1") -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            remedy = "stop what listens there, or choose another port with --port"
            raise SluiceError(f"{host}:{port}: the port is already taken ({error.strerror})", remedy=remedy) from None


def wait_until(ready: Callable[[], bool], *, seconds: float, every: float = 0.1) -> bool:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() >= end:
            return ready()
        time.sleep(every)
    return True
