"""The run directory of a training: whether it may be used, whose it is, and the log that is opened in it."""

import sys
from contextlib import ExitStack
from pathlib import Path

from reslab.report import trackers
from reslab.report.facts import PROBED_LATER
from reslab.run import checkpoint
from reslab.run.fields import flat, with_role
from reslab.run.lock import exclusive_lock
from reslab.run.log import NoLog, RunLog, changes, check_run_dir, read_run, write_config
from reslab.run.settings import TrainConfig
from reslab.system import device
from reslab.training import compiling
from reslab.training.context import RunContext
from reslab.training.outcome import exit_code
from reslab.training.state import TrainState, describe

# What a resumed run may change; it is logged, but for what has no part in the result.
NOT_LOGGED = with_role(TrainConfig, "place")
# The dataset's place may change too: check_data() sees by its hash that it is the same.
FREE_ON_RESUME = with_role(TrainConfig, "place", "machine", "measuring", "schedule") | {"dataset"}


def check_out_dir(config: TrainConfig) -> None:
    """Raises ValueError when the run may not use its out_dir; see check_run_dir."""
    check_run_dir(Path(config.out_dir), flat(config), config.resume, config.overwrite, FREE_ON_RESUME)


def acquire_run_dir(config: TrainConfig, restarts: int, stack: ExitStack) -> int | None:
    """Lock the run directory until the stack is closed; returns what exit_code() says of a resumed run.

    Args:
        restarts: how often torchrun has started the run again by itself.
    """
    folder = Path(config.out_dir)
    stack.enter_context(exclusive_lock(folder, "training here"))
    check_out_dir(config)  # as it is now that nobody else can change it
    return exit_code(folder, config.optim.max_iters, restarts) if config.resume else None


def compiles(config: TrainConfig, run_device: str, vocab_size: int) -> bool:
    """Whether this run is compiled. On a CPU `auto` is for a resumed run what it was before, whatever was
    measured since."""
    if config.compile != "auto" or run_device != "cpu":
        return device.compiles(config.compile, run_device)
    then = read_run(config.out_dir) if config.resume else None
    if then and then.config.get("compile") == "auto" and then.facts.get("device") == "cpu":
        compiled = then.facts.get("compile") is True
    else:
        compiled = compiling.pays(config, vocab_size)
    if compiled:
        print("compiling, as it was measured to be faster; --compile=False overrules it", file=sys.stderr)
    return compiled


def open_log(context: RunContext, state: TrainState, saved: dict, source: Path | None) -> RunLog:
    """Make the directory that of this run, and open its log; on the other ranks one that writes nothing.

    Args:
        saved, source: what load_initial_state() gave and was given.
    """
    config, settings, log = context.config, flat(context.config), NoLog()
    if context.strategy.is_main:
        if source:
            checkpoint.replace_damaged(context.last, source)
        if config.overwrite:
            checkpoint.remove(context.last.parent)
            (context.folder / PROBED_LATER).unlink(missing_ok=True)
        write_config(context.folder, settings, describe(state, context))
        log = trackers.open_log(context.folder, saved["metrics_bytes"], config.log, settings, state.step)
    changed = changes(saved["config"], settings)
    if changed := {key: changed[key] for key in changed if key in FREE_ON_RESUME - NOT_LOGGED}:
        log.write({"step": state.step, "changed": changed})
    return log
