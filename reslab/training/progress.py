"""What a person sees of a running training, and how they stop it: a bar, plain lines, Ctrl-C."""

import math
import shlex
import signal
import sys

from tqdm import tqdm

from reslab.run.children import on_ending_signals
from reslab.run.launch import as_typed
from reslab.training.throughput import Throughput

BAR_FORMAT = "{n_fmt}/{total_fmt}{desc}, {remaining} left{postfix} |{bar}|"
TIME = len(", 1:23:45 left |||")  # what stands behind the loss, at its longest


class Progress:
    """A tqdm bar on a terminal, one line per evaluation in a pipe or a file.

    Args:
        total, done: updates in all, and already made.
        enabled: whether anything is shown.
    """

    def __init__(self, total: int, done: int, enabled: bool = True):
        self.total, self.enabled = total, enabled
        self.terminal = enabled and bool(sys.stderr and sys.stderr.isatty())  # a closed stderr is None
        self.bar = tqdm(
            total=total,
            initial=done,
            unit="step",
            disable=not self.terminal,
            dynamic_ncols=True,
            bar_format=BAR_FORMAT,
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.bar.close()

    def updated(self, batch_loss: float, throughput: Throughput) -> None:
        """Show that an update is done."""
        if self.terminal:  # before the bar is drawn: the loss that it shows is that of the update it counts
            loss = f", {'batch ' if self.width >= 60 else ''}loss {batch_loss:.3f}"
            count = 2 * len(f"{self.total}") + 1
            self.bar.set_description_str(loss, refresh=False)
            rates = ", ".join(f"{text} {name}" for name, text in throughput.texts().items())
            fits = count + len(loss) + TIME + len(f", {rates}") <= self.width  # whole or not at all
            self.bar.set_postfix_str(rates if fits else "", refresh=False)
        self.bar.update()

    @property
    def width(self) -> float:
        """Characters of a line: of the terminal that the bar is drawn on; a pipe has no limit."""
        return (self.bar.format_dict["ncols"] if self.terminal else None) or math.inf

    def evaluated(self, step: int, row: dict, throughput: Throughput) -> None:
        """Show an evaluation, and how long the rest of the run takes."""
        train, val = f"train {row['train/loss']:.4f}", f"val {row['val/loss']:.4f}"
        losses = f"step {step:>6}/{self.total}   {train}   {val} ± {row['val/loss_se']:.4f}"
        lines = [losses, f"step {step}/{self.total} {train} {val}"]
        if throughput.tokens_per_s:
            rate, *mfu = throughput.texts().items()
            left = tqdm.format_interval(throughput.seconds_for(self.total - step))
            parts = [f"{rate[1]} tok/s", *(f"{name} {text}" for name, text in mfu), f"{left} left"]
            lines.insert(0, "   ".join([losses, *parts]))
        self.say(next((line for line in lines if len(line) <= self.width), lines[-1]))

    def say(self, line: str) -> None:
        """Print a line without breaking the bar."""
        if self.terminal:
            self.bar.write(line)
        elif self.enabled:
            print(line, flush=True)


class Stopped(Exception):
    """A signal asks the run to end, in the middle of what can be done again.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class Stop:
    """SIGINT (Ctrl-C), SIGTERM, SIGUSR1 (schedulers), SIGHUP (a terminal that is gone) and every other
    signal that would end the process ask the loop to save and end.

    `signal_number` is 0 before that. A second Ctrl-C ends at once; the first may follow a SIGTERM to all
    processes of a grid, whose compare.py asks its runs to save, too.
    """

    signal_number, interrupted = 0, False

    def __enter__(self):
        self.signal_number, self.interrupted = 0, False
        self._handlers = on_ending_signals(self._on_signal)
        self._handlers.__enter__()
        return self

    def _on_signal(self, number, frame):
        if self.interrupted and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.interrupted = self.interrupted or number == signal.SIGINT
        self.signal_number = self.signal_number or number

    def __exit__(self, *error):
        self._handlers.__exit__(*error)


def resume_command(argv: list[str], overwrites: bool, launcher: list[str]) -> str:
    """What to type to go on with a run.

    Args:
        argv: the command line that started it, without what launched it.
        overwrites: whether its settings say --overwrite.
        launcher: what comes before that.
    """
    arguments = [word for word in argv if word.partition("=")[0] not in ("--resume", "--overwrite")]
    if overwrites and "--overwrite" not in "".join(argv):  # a config file says it
        arguments.append("--overwrite=False")
    return as_typed(shlex.join([*launcher, *arguments, "--resume"]))
