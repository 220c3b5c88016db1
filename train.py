"""Train one model: config -> data -> model -> loop -> run directory."""

from reslab.run import config as configure
from reslab.run import launch
from reslab.run.settings import TrainConfig

HELP = """
    python train.py config/smoke.py                       does everything work?
    python train.py config/deep.py --residual=none --out_dir=runs/deep-none
    python train.py config/deep.py --resume               go on after a stop
    torchrun --nproc_per_node=8 train.py config/deep.py   8 GPUs, docs/scale.md
"""


def main(argv: list[str]) -> int:
    try:
        with launch.rank0_output(launch.rank() == 0):  # all ranks read the same command line
            config = configure.parse(TrainConfig, argv, HELP, leave_out=("study",)).config
        from reslab.training.loop import train  # here, so that help and faults come before torch

        return train(config)
    except launch.ReportedByRank0:
        return 2


if __name__ == "__main__":
    configure.run_door(main)
