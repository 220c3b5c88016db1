"""What a person sees of a running training, and how they stop it: a bar, plain lines, Ctrl-C."""

import shlex
import signal
import sys

from tqdm import tqdm


class Progress:
    """A tqdm bar on a terminal, one line per evaluation in a pipe or a file.

    Args:
        total, done: updates in all, and already made.
        tokens_per_step: tokens of one update.
        mfu: tokens per second -> share of the GPU's peak rate, None where that is unknown; left out on a CPU.
        speaks: whether anything is shown.
    """

    def __init__(self, total: int, done: int, tokens_per_step: int, mfu=None, speaks: bool = True):
        self.total, self.tokens_per_step, self.mfu, self.speaks = total, tokens_per_step, mfu, speaks
        self.terminal = speaks and bool(sys.stderr and sys.stderr.isatty())  # a closed stderr is None
        self.bar = tqdm(total=total, initial=done, unit="step", disable=not self.terminal, dynamic_ncols=True)
        self.shown = {}
        self.updates, self.seconds, self.tokens_per_s = 0, 0.0, 0.0  # since the last row

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.bar.close()

    def updated(self, batch_loss: float, seconds: float) -> None:
        """One update is done, and took so long."""
        self.updates, self.seconds = self.updates + 1, self.seconds + seconds
        self.tokens_per_s = self.updates * self.tokens_per_step / self.seconds
        self.bar.update()
        if not self.terminal:
            return
        self.shown |= {"loss": f"{batch_loss:.3f}", "tok/s": f"{self.tokens_per_s:,.0f}"}
        if self.mfu:
            self.shown["MFU"] = percent(self.mfu(self.tokens_per_s))
        self.bar.set_postfix(self.shown, refresh=False)

    def speed(self) -> dict:
        """tokens_per_s of the updates since this was last asked for, and mfu on a GPU: the keys of a row.

        Each row has a rate of its own, so the minutes that torch compiles in are in the first one only.
        """
        self.updates, self.seconds = 0, 0.0
        mfu = {"mfu": self.mfu(self.tokens_per_s)} if self.mfu else {}
        return mfu | {"tokens_per_s": self.tokens_per_s}

    def evaluated(self, step: int, row: dict) -> None:
        """An evaluation is done."""
        self.shown["val"] = f"{row['val/loss']:.3f}"
        line = (
            f"step {step:>6}/{self.total}   train {row['train/loss']:.4f}   "
            f"val {row['val/loss']:.4f} ± {row['val/loss_se']:.4f}"
        )
        if self.tokens_per_s:
            left = (self.total - step) * self.tokens_per_step / self.tokens_per_s
            line += f"   {self.tokens_per_s:,.0f} tok/s"
            line += f"   MFU {percent(self.mfu(self.tokens_per_s))}" if self.mfu else ""
            line += f"   {tqdm.format_interval(left)} left"
        self.say(line)

    def say(self, line: str) -> None:
        """Print a line without breaking the bar."""
        if self.terminal:
            self.bar.write(line)
        elif self.speaks:
            print(line, flush=True)


def percent(share: float | None) -> str:
    """A share for people, n/a where there is none."""
    return "n/a" if share is None else f"{share:.1%}"


class Stop:
    """SIGINT (Ctrl-C), SIGTERM and SIGUSR1 (schedulers) ask the loop to save and end.

    `asked` is the signal's number, 0 before. A second Ctrl-C ends at once.
    """

    def __enter__(self):
        self.asked = 0
        signals = (
            getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGUSR1")
        )  # Windows has two
        self._before = {number: signal.signal(number, self._ask) for number in signals if number}
        return self

    def _ask(self, number, frame):
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = self.asked or number

    def __exit__(self, *error):
        for number, handler in self._before.items():
            signal.signal(number, handler)


def resume_command(words: list[str], overwrites: bool, launcher: list[str]) -> str:
    """What to type to go on with a run.

    Args:
        words: the command line that started it, without what launched it.
        overwrites: whether its settings say --overwrite.
        launcher: what comes before that.
    """
    kept = [word for word in words if word.partition("=")[0] not in ("--resume", "--overwrite")]
    if overwrites and "--overwrite" not in "".join(words):  # a config file says it
        kept.append("--overwrite=False")
    return shlex.join([*launcher, *kept, "--resume"])
