"""Sides of bench.py whose seconds are made up."""

from benchmarks.turns import Bench


class Machine:
    """Starts workers whose seconds are made up; remembers who was asked what, and in which order."""

    def __init__(self, seconds):
        self.seconds, self.calls, self.stopped = seconds, [], 0

    def start(self, side, **environment):
        machine, settings = self, {}

        class Worker:
            started = 123.0

            def __init__(self):
                self.sent = []

            def ask(self, task, **arguments):
                self.send(task, **arguments)
                return self.answer(task)

            def send(self, task, **arguments):
                if task in ("build", "first_step"):
                    settings.update(arguments["settings"])
                machine.calls.append((side, task, dict(settings), arguments, environment))
                self.sent.append(arguments)

            def answer(self, task):
                return machine.seconds(side, task, settings, self.sent.pop(0))

            def stop(self):
                machine.stopped += 1

        return Worker()


def made_up(machine: Machine, quick=False, gpu=False, peer=True) -> Bench:
    made = Bench("a checkout" if peer else None, quick, gpu)
    made.start = machine.start
    return made


def answers(side, task, settings, arguments):
    """Seconds, bytes and losses that tell sides, depths and settings apart."""
    layers = settings.get("n_layer", 0)
    step = {"ours": 0.1, "nanogpt": 0.3}[side] * (2 if settings.get("dtype") == "float32" else 1)
    step *= 0.5 if settings.get("residual") == "none" else 1
    if task == "build":
        return {"parameters": 1000 * layers, "dtype": "x", "flops_per_token": 10**9}
    if task == "steps":
        if settings.get("n_embd") == 64:
            return {"s": arguments["count"] * 0.1 * layers, "cpu_s": arguments["count"] * 0.01 * layers}
        return {"s": arguments["count"] * step}
    if task == "probe_look":
        return {"s": 9.0 * layers, "cpu_s": 0.03 * layers}
    if task == "compare_runs":
        return {"table": 3 + arguments["count"] / 2, "page_bytes": 7 * arguments["count"]}
    if task == "memory":
        per_layer = 20_000 if settings.get("activation_checkpointing") else 48_000
        return {"bytes": 7_000_000 + per_layer * layers}
    if task == "train_until":
        seed = settings.get("seed", 0)
        took = {"nanogpt": 80.0}.get(side, {1337: 10.0, 1: 20.0, 2: 60.0, 0: 15.0}.get(seed))
        loss = {"nanogpt": 1.9}.get(side, {1337: 1.7, 1: 1.8, 2: 1.9, 0: 1.5}.get(seed))
        return {"s": took, "step": 5, "val_loss": loss, "curve": []}
    if task == "first_step":
        took = {12: 4.0, 96: 10.0}.get(layers, 2.0 if side == "ours" else 3.0)
        return {"s": took, "cpu_s": 2 + 0.02 * layers, "parameters": 1000 * layers}
    return {"s": step, "kernels_s": 0.05}
