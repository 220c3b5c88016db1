"""What stays the same while a run trains: one record that every part of the loop is handed."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from reslab.data.dataset import TokenDataset
from reslab.run.log import NoLog, RunLog
from reslab.run.settings import TrainConfig
from reslab.system.parallel import SINGLE, Single
from reslab.training.progress import Progress, Stop, Stopped, resume_command
from reslab.training.throughput import Throughput


@dataclass(frozen=True)
class RunContext:
    """A run as its loop sees it. What changes while it trains is in TrainState."""

    config: TrainConfig
    dataset: TokenDataset
    strategy: Single = SINGLE
    log: RunLog = field(default_factory=NoLog)
    """Gets the rows; on rank 0 alone it writes them."""
    compiled: bool = False
    """What the setting `compile` means for this run."""
    progress: Progress | None = None
    throughput: Throughput | None = None
    stop: Stop = field(default_factory=Stop)
    """Whether a signal asks the run to save and end."""

    @property
    def folder(self) -> Path:
        """The run directory."""
        return Path(self.config.out_dir)

    @property
    def last(self) -> Path:
        """The checkpoint that a resumed run starts from."""
        return self.folder / "checkpoint" / "last"

    def check_stop(self) -> None:
        """Raise Stopped when a signal asks the run to end; all ranks come here together."""
        if number := self.strategy.dist.all_reduce_max(self.stop.signal_number):
            raise Stopped(number)

    def check_stop_alone(self) -> None:
        """The same where rank 0 works and the others wait for it: only a run of one process stops there."""
        if not self.strategy.dist.initialized:
            self.check_stop()

    def resume_command(self) -> str:
        """What to type to go on with this run."""
        return resume_command(sys.argv, self.config.overwrite, self.strategy.dist.command())
