"""Where the time of an update goes: torch's profiler over a few of them, summed by kind of layer."""

import contextlib
import functools
from collections import defaultdict
from pathlib import Path

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

WARM = 3  # updates that are left out
TRACED = 5
KINDS = ("attention", "MLP", "norm", "embedding", "head and loss", "optimizer", "rest")


class StepProfiler:
    """Traces some updates of a training loop, then takes itself off the model.

    Args:
        model: the GPT. Its compiled regions are shown as what called them.
        folder: gets trace.json, to be opened in chrome://tracing or ui.perfetto.dev.
    """

    def __init__(self, model, folder: Path):
        self.path, self.updates, self.ranges = folder / "trace.json", 0, []
        self.started = False
        self.cuda = next(model.parameters()).is_cuda
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * self.cuda
        self.profile = profile(activities=activities)
        self.handles = []
        for module, kind in _kinds(model):
            self.handles.append(module.register_forward_pre_hook(functools.partial(self._enter, kind)))
            self.handles.append(module.register_forward_hook(self._leave))
        self.model, self.head_loss = model, model.__dict__.get("head_loss")
        head_loss = model.head_loss
        model.head_loss = lambda *args: _named("head and loss", head_loss, *args)

    def _enter(self, kind, module, args):
        self.ranges.append(record_function(f"kind {kind}"))
        self.ranges[-1].__enter__()

    def _leave(self, module, args, output):
        self.ranges.pop().__exit__(None, None, None)

    def before_update(self) -> None:
        if self.updates == WARM:
            self.profile.start()
            self.started = True

    def after_update(self) -> str | None:
        """The table, once enough updates are traced."""
        self.updates += 1
        return self.stop() if self.updates == WARM + TRACED else None

    def stop(self) -> str | None:
        """Take all off the model; the table of what was traced. Once it is off, nothing."""
        if self.handles is None:
            return None
        traced = self.updates - WARM
        if traced >= 0 and self.started:
            self.profile.stop()
        for handle in self.handles:
            handle.remove()
        self.handles = None
        del self.model.head_loss
        if self.head_loss is not None:
            self.model.head_loss = self.head_loss
        if traced < 1:
            return f"no update is traced: the first {WARM} are left out, and there were {self.updates}"
        self.profile.export_chrome_trace(str(self.path))
        return f"{table(self.profile.events(), traced, self.cuda)}\nthe trace is {self.path}"


@contextlib.contextmanager
def traced(step, model, folder: Path, say):
    """The step function `step`, which hands the table to say() when enough of its calls are traced, or at
    the end of what is inside."""
    tracer = StepProfiler(model, folder)

    def traced_step(*args):
        tracer.before_update()
        metrics = step(*args)
        if table := tracer.after_update():
            say(table)
        return metrics

    try:
        yield traced_step
    finally:
        if table := tracer.stop():
            say(table)


def table(events, updates: int, cuda: bool) -> str:
    """Milliseconds per update by kind of layer, forward and backward."""
    spent = by_kind(events, cuda)
    total = sum(sum(both) for both in spent.values()) or 1
    where = "on the GPU" if cuda else "on the CPU"
    lines = [f"{'an update, ms ' + where:26}{'forward':>10}{'backward':>10}{'share':>8}"]
    for kind in KINDS:
        forward, backward = (us / 1e3 / updates for us in spent[kind])
        share = sum(spent[kind]) / total
        lines.append(f"{kind:26}{forward:10.2f}{backward:10.2f}{share:8.1%}")
    return "\n".join(lines)


def by_kind(events, cuda: bool) -> dict[str, list[float]]:
    """Kind -> [forward, backward] microseconds.

    A backward node belongs to the kind in whose forward range the operation with its sequence number ran.
    """
    kind_of_number = {}
    for event in events:
        if event.sequence_nr >= 0 and (kind := _kind_above(event, {})):
            kind_of_number.setdefault(event.sequence_nr, kind[0])
    spent = defaultdict(lambda: [0.0, 0.0])
    for event in events:
        microseconds = _on_gpu(event) if cuda else event.self_cpu_time_total
        kind, backward = _kind_above(event, kind_of_number) or ("rest", 0)
        spent[kind][backward] += microseconds
    return spent


def _on_gpu(event) -> float:
    """Microseconds of the kernels that an event has launched itself. What the profiler shows as events of the
    GPU are the same kernels again, and ranges with the time between them."""
    of_gpu = event.device_type != DeviceType.CPU or event.name.startswith("kind ")
    return 0.0 if of_gpu else sum(kernel.duration for kernel in event.kernels)


def _kind_above(event, kind_of_number: dict) -> tuple[str, int] | None:
    """The innermost range that an event is in: (kind, 1 in the backward pass)."""
    while event is not None:
        if event.name.startswith("kind "):
            return event.name.removeprefix("kind "), 0
        if event.name.startswith("Optimizer.step"):
            return "optimizer", 0
        if event.name.startswith("autograd::engine::evaluate_function"):
            return (
                (kind_of_number[event.sequence_nr], 1) if event.sequence_nr in kind_of_number else ("rest", 1)
            )
        event = event.cpu_parent
    return None


def _named(kind, function, *args):
    with record_function(f"kind {kind}"):
        return function(*args)


def _kinds(model):
    """Pairs of a module and its kind. What is compiled has no inside: its block counts as the rest."""
    compiled = any(block._compiled_call_impl for block in model.blocks)
    for block in [] if compiled else model.blocks:
        yield block.attn, "attention"
        yield block.mlp, "MLP"
        for residual in (block.attn_residual, block.mlp_residual):
            for name, module in residual.named_children():
                if name.startswith("norm"):
                    yield module, "norm"
    for name in ("wte", "wpe"):
        if getattr(model, name, None) is not None:
            yield getattr(model, name), "embedding"
    yield model.ln_f, "norm"
