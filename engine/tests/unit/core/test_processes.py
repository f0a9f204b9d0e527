import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from sluice.core import processes
from sluice.core.atomic_files import read_json, write_json
from sluice.core.errors import SluiceError

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
WITH_CODE = {**os.environ, "PYTHONPATH": str(Path(processes.__file__).parents[2])}
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
]


def ended(pid: int, seconds: float = 60) -> bool:
    return processes.wait_until(lambda: not processes.is_running(pid), seconds=seconds, every=0.02)


def wait_for_line(child: processes.Child, line: str) -> None:
    assert processes.wait_until(lambda: line in child.tail(), seconds=60, every=0.02), child.tail()


def test_a_child_has_a_log_a_record_and_its_own_group(tmp_path: Path) -> None:
    argv = [
        sys.executable,
        "-c",
        "import os, sys; print(os.environ['X'], os.getcwd()); print('to stderr', file=sys.stderr)",
    ]
    child = processes.start("job", argv, state=tmp_path, env={"X": "set"}, cwd=tmp_path)
    assert child.process.wait(60) == 0
    assert child.log == tmp_path / "logs" / "job.log"
    assert sorted(child.tail().splitlines()) == sorted([f"set {tmp_path}", "to stderr"])
    assert read_json(child.record)["pid"] == child.process.pid
    assert child.stop() == 0
    assert not child.record.exists()


def test_stop_kills_what_does_not_listen_with_its_whole_group(tmp_path: Path) -> None:
    family = "import signal, subprocess; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    family += f"p = subprocess.Popen({STUBBORN!r}); print(p.pid, flush=True); p.wait()"
    child = processes.start("family", [sys.executable, "-c", family], state=tmp_path)
    wait_for_line(child, "deaf")
    grandchild = int(next(line for line in child.tail().splitlines() if line.isdigit()))
    assert child.stop(grace=0.2) == -signal.SIGKILL
    assert not child.record.exists()
    assert ended(grandchild)


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match="router: no-such-program cannot be run"):
        processes.start("router", ["no-such-program"], state=tmp_path)
    assert not list(tmp_path.glob("run/*"))


PARENT = """
import sys, time
from pathlib import Path
from sluice.core import processes
state, line, *argv = sys.argv[1:]
child = processes.start("job", argv, state=Path(state))
while line not in child.tail(): time.sleep(0.02)
print(child.process.pid, flush=True)
time.sleep(60)
"""


def begin(code: str, *words: str | Path) -> tuple[subprocess.Popen[str], int]:
    """Run code in a process that says the number of its child."""
    argv = [sys.executable, "-c", code, *map(str, words)]
    parent = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=WITH_CODE)
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


def killed_parent(state: Path, argv: list[str], line: str) -> int:
    """Kill a process that has started `argv`; return the child's pid."""
    parent, pid = begin(PARENT, state, line, *argv)
    parent.kill()
    parent.communicate()
    return pid


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_a_child_ends_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    pid = killed_parent(tmp_path, [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"], "up")
    assert ended(pid)


def test_reap_ends_a_child_that_was_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = killed_parent(tmp_path, STUBBORN, "deaf")  # it does not hear the parent-death signal
    assert processes.is_running(pid)
    with monkeypatch.context() as patience:
        patience.setattr(processes, "wait_until", lambda ready, **_: time.sleep(0.2) or ready())
        assert processes.reap(tmp_path) == ["job"]
    assert ended(pid)
    assert not list((tmp_path / "run").iterdir())
    assert processes.reap(tmp_path) == []


# A program that starts another one in its group, says its number, and ends; the other one says that it was asked to.
LEAVES_ONE = """
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", sys.argv[1]]).pid, flush=True)
"""
LEFT = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("asked to end", flush=True), sys.exit()))
print("up", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("at_once", [False, True])
def test_reap_ends_what_an_ended_child_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool) -> None:
    with monkeypatch.context() as ended:
        if at_once:  # before its record was written
            ended.setattr(processes, "_started", lambda _: 0)
        child = processes.start("job", [sys.executable, "-c", LEAVES_ONE, LEFT], state=tmp_path)
    assert child.process.wait(60) == 0
    wait_for_line(child, "up")
    pid = next(int(line) for line in child.tail().splitlines() if line.isdecimal())
    assert processes.is_running(pid)
    assert processes.reap(tmp_path) == ["job"]
    assert not processes.is_running(pid)


def test_reap_does_not_touch_a_recycled_pid(tmp_path: Path) -> None:
    stranger = subprocess.Popen(SLEEP, start_new_session=True)
    try:
        for number, started in enumerate((1.0, 0.0)):
            record = {"name": "job", "pid": stranger.pid, "started": started, "argv": []}
            write_json(tmp_path / "run" / f"job-{number}.json", record)
        assert processes.reap(tmp_path) == []
        time.sleep(0.1)
        assert stranger.poll() is None
        assert not list((tmp_path / "run").iterdir())
    finally:
        stranger.kill()
        stranger.wait()


DEAF_CHILD = """
import signal, sys, time
from pathlib import Path
from sluice.core.processes import watch_parent
signal.signal(signal.SIGTERM, lambda *_: Path(sys.argv[1]).write_text("asked"))
watch_parent(every=0.02, again=0.1, last=15)  # time to write, whatever else the machine does
print("ready", flush=True)
time.sleep(60)
"""
PARENT_OF_DEAF = "import subprocess, sys; c = subprocess.Popen(sys.argv[1:]); print(c.pid, flush=True); c.wait()"


def test_a_child_that_lost_the_signal_is_asked_again_and_then_killed(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    parent, child = begin(PARENT_OF_DEAF, sys.executable, "-c", DEAF_CHILD, asked)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    assert processes.is_running(child)
    parent.kill()
    parent.wait()
    assert ended(child, seconds=60)
    assert asked.read_text() == "asked"


RESTORED = "import signal; signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
STAGE = """
import os, sys, time
from pathlib import Path
from sluice.core.processes import watch_parent
watch_parent(every=0.02, again=60, last=60)
Path(sys.argv[1]).write_text(str(os.getpid()))
time.sleep(60)
"""


def test_a_child_behind_a_shell_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    told = tmp_path / "told"
    # Between the two stands dvc, which dies of the parent-death signal where this shell ignores it.
    shell = ["/bin/sh", "-c", 'trap "" TERM; "$@"; exit 0', "sh", sys.executable, "-c", RESTORED + STAGE, str(told)]
    starter, _ = begin(PARENT, tmp_path, "", *shell)
    assert processes.wait_until(lambda: told.exists() and told.read_text() != "", seconds=60)
    child = int(told.read_text())
    assert processes.is_running(child)
    starter.kill()
    starter.wait()
    assert ended(child, seconds=60)


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    done = []

    def work() -> None:
        with processes.interrupts_deferred():
            signal.raise_signal(signal.SIGINT)
            done.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["all of it"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_require_port_names_a_taken_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SluiceError, match=rf"127\.0\.0\.1:{port}: the port is already taken") as caught:
            processes.require_port(port)
        assert "--port" in caught.value.remedy
    processes.require_port(port)


def test_a_port_is_given_out_once() -> None:
    given = processes.free_port()
    with ExitStack() as probes:
        free = []
        for _ in range(5):  # one of them may be somebody else's by the time it is drawn
            probe = probes.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            free.append(str(probe.getsockname()[1]))
    code = "import sys; from sluice.core import processes; drawn = iter(map(int, sys.argv[1:])); "
    code += "processes.randrange = lambda *_: next(drawn); print(processes.free_port())"
    words = [sys.executable, "-c", code, str(given), *free]
    other = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert other.stdout.strip() in free
