"""What comes before the first step: the ranks, the data, the run directory and the state to start from."""

from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

from reslab.data.dataset import find_folder, open_dataset
from reslab.nn.flops import tokens_per_update
from reslab.residual import check_wirings
from reslab.run import capacity, checkpoint, launch
from reslab.run import config as configure
from reslab.run.settings import TrainConfig
from reslab.system import device, distributed
from reslab.system.flops import meter
from reslab.system.parallel import Single, make_strategy
from reslab.training import rundir
from reslab.training.context import RunContext
from reslab.training.init_from import resolve_init_from
from reslab.training.progress import Progress
from reslab.training.state import TrainState, load_initial_state
from reslab.training.step import make_state
from reslab.training.throughput import Throughput


@contextmanager
def open_run(config: TrainConfig):
    """A run that may begin or go on here: its ranks are connected, and its directory is locked.

    Yields:
        a RunContext, and the exit code of a run that has nothing left to do, or None.

    Raises:
        ValueError: what the config asks for can't be done here; nothing was written.
        MachineError: memory ran out inside.
    """
    config = resolve_init_from(config)
    dist = distributed.from_torchrun_env()
    run_device = check(config, dist)
    device.prepare_torch(run_device)
    with distributed.process_group(dist, run_device) as dist, ExitStack() as stack:
        dataset = dist.once_per_machine(
            lambda: open_dataset(config.dataset, config.model.block_size, config.seed)
        )
        if dist.restarts and dist.broadcast_from_rank0((Path(config.out_dir) / "config.json").exists):
            config = replace(config, resume=True, overwrite=False)
        code = dist.broadcast_from_rank0(lambda: rundir.acquire_run_dir(config, dist.restarts, stack))
        strategy = stack.enter_context(closing(make_strategy(config.shard, run_device, dist)))
        with _memory_advice(config, strategy):
            yield RunContext(config, dataset, strategy), code


def check(config: TrainConfig, dist: distributed.DistContext) -> str:
    """This rank's device. Raises ValueError with everything that is in the way of the run."""
    with launch.rank0_output(dist.local_rank == 0):  # machines may differ
        run_device, *_ = configure.collect(
            lambda: distributed.local_device(device.pick_device(config.device), dist),
            lambda: distributed.split_batch(
                config.batch_size, config.gradient_accumulation_steps, dist.world_size
            ),
            lambda: distributed.check_launch(config.shard),
            lambda: None if distributed.under_torchrun() else rundir.check_out_dir(config),
            lambda: _find_data(config),
            lambda: check_wirings(config.model),
        )
    return run_device


def _find_data(config: TrainConfig) -> None:
    """Raises ValueError where the dataset is not; a resumed run may take it from another place."""
    try:
        find_folder(config.dataset)
    except ValueError as error:
        if not config.resume:
            raise
        raise ValueError(f"{error}; if the data were moved, give their new place: --dataset=PATH") from None


@contextmanager
def _memory_advice(config: TrainConfig, strategy: Single):
    """Inside, a full memory is a MachineError that says what to lower."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not capacity.ran_out(error):
            raise
        advice = capacity.advice(error, config.batch_size, config.gradient_accumulation_steps)
        records = config.cuda_graph and strategy.can_capture and strategy.device.startswith("cuda")
        if records and "cuda_graph" not in advice:
            advice += "; recorded updates keep memory for themselves, and --cuda_graph=False records none"
        raise configure.MachineError(
            f"{strategy.device}: out of memory; {advice}. What was saved before is whole"
        ) from None


def start_training(context: RunContext) -> tuple[TrainState, RunContext]:
    """The state that a run starts from, and its context with a log, a progress bar and a throughput."""
    config, strategy, dist = context.config, context.strategy, context.strategy.dist
    source = dist.broadcast_from_rank0(lambda: checkpoint.find(context.last)) if config.resume else None
    vocab_size = context.dataset.vocab_size
    compiled = dist.broadcast_from_rank0(lambda: rundir.compiles(config, strategy.device, vocab_size))
    placed, context = replace(config, compile=f"{compiled}"), replace(context, compiled=compiled)
    state = dist.raise_together(lambda: make_state(placed, vocab_size, strategy))
    saved = dist.raise_together(lambda: load_initial_state(state, context, source))
    log = rundir.open_log(context, state, saved, source)
    throughput = Throughput(tokens_per_update(config), meter(state.model, strategy.device, dist.world_size))
    progress = Progress(config.optim.max_iters, state.step, strategy.is_main)
    return state, replace(context, log=log, progress=progress, throughput=throughput)
