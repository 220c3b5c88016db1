"""The end of a program: the signals that ask for it, and handing them on to the programs it has started."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading

PARENT = "RESLAB_PARENT"  # in a child's environment: the process that waits for it
ALWAYS = ("SIGINT", "SIGTERM", "SIGUSR1")
# Each would end the process. One that is ignored (nohup) or has another use (a debugger) is left alone.
BY_DEFAULT = ("SIGHUP", "SIGQUIT", "SIGUSR2", "SIGXCPU", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGPWR", "SIGIO")
BY_DEFAULT += ("SIGABRT", "SIGBREAK")  # sent by a watchdog, not by abort() itself; of Windows
PR_SET_PDEATHSIG = 1


def ending_signals() -> list[int]:
    """The signals that ask this process to end and can be caught, here and now."""
    known = [getattr(signal, name) for name in (*ALWAYS, *BY_DEFAULT) if hasattr(signal, name)]
    always = {getattr(signal, name, None) for name in ALWAYS}
    return [number for number in known if number in always or signal.getsignal(number) is signal.SIG_DFL]


@contextlib.contextmanager
def on_ending_signals(handler):
    """Inside, handler(number, frame) is called for each of them; the handlers before come back.

    Python lets the main thread alone handle signals, so in another thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in ending_signals()}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, signal.SIG_DFL if previous is None else previous)


class Interrupted(KeyboardInterrupt):
    """A signal asks this program to end.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int = signal.SIGINT):
        super().__init__(number)
        self.code = 128 + number


class _Unbroken:
    """What unbroken() tells the handler: whether it is on, and the signal that came meanwhile."""

    on, number = False, 0


def raise_interrupted(number, frame):
    """A handler for on_ending_signals(): the main thread gets Interrupted, inside unbroken() at its end."""
    if _Unbroken.on:
        _Unbroken.number = number
    else:
        raise Interrupted(number)


@contextlib.contextmanager
def unbroken():
    """What is done inside is done whole before a signal that came meanwhile raises Interrupted."""
    _Unbroken.on, _Unbroken.number = True, 0
    try:
        yield
    finally:
        _Unbroken.on = False
    if _Unbroken.number:
        raise Interrupted(_Unbroken.number)


def follow_parent() -> None:
    """Let SIGTERM come when the process that waits for this one is gone, however it went: on Linux."""
    parent = os.environ.pop(PARENT, "")
    if sys.platform != "linux" or not parent.isdecimal():
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it was gone before
        os.kill(os.getpid(), signal.SIGTERM)


class Children:
    """Programs that this process has started and waits for. As a context: what ends this process ends them.

    They get SIGTERM, whatever came here: at a terminal Ctrl-C has reached them before, and a second SIGINT
    means at once.
    """

    def __init__(self):
        self.running, self.signal_number, self.stopping = set(), 0, False
        self._handlers = on_ending_signals(self._on_signal)

    def __enter__(self):
        self._handlers.__enter__()
        return self

    def __exit__(self, *error):
        self._handlers.__exit__(*error)

    def _on_signal(self, number, frame):
        self.signal_number = self.signal_number or number
        self.stop()

    def stop(self) -> None:
        """Ask all of them to save and end; no other is started."""
        self.stopping = True
        if os.name == "posix":  # elsewhere there is no asking, and Ctrl-C reaches them too
            for child in list(self.running):
                child.terminate()

    def run(self, command: list[str], env: dict | None = None, **options):
        """As subprocess.run(); None when everything is to end already."""
        environment = (env or os.environ) | {PARENT: str(os.getpid())}
        if self.stopping:
            return None
        with subprocess.Popen(command, env=environment, **options) as child:
            self.running.add(child)
            if self.stopping and os.name == "posix":  # asked for while it was being started
                child.terminate()
            try:
                out, err = child.communicate()
            finally:
                self.running.discard(child)
        return subprocess.CompletedProcess(command, child.returncode, out, err)
