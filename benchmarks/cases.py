"""The cases: which sides run, in which shapes, and what is compared. Each is a function (bench) -> dict."""

import statistics

import torch

from benchmarks.growth import growth
from benchmarks.programs import demo, programs
from benchmarks.turns import ratios
from reslab.system import device, flops
from reslab.training.captured import WARM

SMALL = {"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 64, "batch_size": 12}
WORDS = SMALL | {"vocab_size": 50257}  # the tokens of GPT-2
MIDDLE = {"n_layer": 6, "n_head": 6, "n_embd": 384, "block_size": 256, "batch_size": 16}
NARROW = {"n_layer": 24, "n_head": 2, "n_embd": 64, "block_size": 64, "batch_size": 16}
DEEP = {"n_layer": 48, "n_head": 4, "n_embd": 128, "block_size": 128, "batch_size": 16}
GPT2 = {"n_layer": 12, "n_head": 12, "n_embd": 768, "block_size": 1024, "vocab_size": 50304}
DEEP_GPU = {"n_layer": 48, "n_head": 6, "n_embd": 384, "block_size": 256, "batch_size": 64}
THOUSAND = {"n_layer": 1000, "n_head": 4, "n_embd": 256, "block_size": 256, "batch_size": 8}
CAPTURED = WARM + 3  # steps after which ours is what it stays on a GPU
NANO = {"mlp": "gelu_erf"}  # nanoGPT's activation, so that both compute the same function


def train_sides(bench, shape: dict) -> dict:
    """Name -> (side, settings): ours as it comes and in float32, the peer in each of its settings."""
    ours = shape | {"residual": "pre"} | bench.known(NANO)
    if bench.gpu:
        return gpu_sides(bench, shape, ours)
    sides = {"ours": ("ours", ours), "ours float32": ("ours", ours | {"dtype": "float32"})}
    if not bench.quick:
        sides["ours compiled"] = ("ours", ours | {"compile": "True"})
    if bench.peer:
        plain = {"dtype": "float32", "compile": "False"}
        half = {"dtype": "bfloat16", "compile": "False"}
        sides |= {
            "nanogpt float32": ("nanogpt", shape | plain),
            "nanogpt bfloat16": ("nanogpt", shape | half),
        }
        if not bench.quick:
            sides["nanogpt compiled float32"] = ("nanogpt", shape | plain | {"compile": "True"})
            sides["nanogpt compiled bfloat16"] = ("nanogpt", shape | half | {"compile": "True"})
    return sides | other_sides(bench, shape)


def gpu_sides(bench, shape: dict, ours: dict) -> dict:
    """The same on a GPU, where nobody trains in float32: bfloat16, compiled as it comes and eager."""
    sides = {"ours": ("ours", ours), "ours without graphs": ("ours", ours | {"cuda_graph": False})}
    if bench.peer:
        half = shape | {"dtype": "bfloat16"}
        sides["nanogpt compiled bfloat16"] = ("nanogpt", half | {"compile": "True"})
        sides["nanogpt bfloat16"] = ("nanogpt", half | {"compile": "False"})
    return sides | other_sides(bench, shape, ("bfloat16",))


def other_sides(bench, shape: dict, dtypes: tuple[str, ...] = ("float32", "bfloat16")) -> dict:
    """transformers in these precisions and the limit in that of ours, where they are asked for."""
    sides = {}
    if "transformers" in bench.others:
        for dtype in dtypes:
            sides[f"transformers {dtype}"] = ("transformers", shape | {"dtype": dtype})
    if "limit" in bench.others:
        sides["limit"] = ("limit", shape)
    return sides


def settled(bench) -> int:
    """Steps after which ours is as fast as it stays."""
    return CAPTURED if bench.gpu else 3


def train_step(shape: dict, gpu: bool = False):
    """A case: seconds per training step of all sides, in turns."""

    def case(bench) -> dict:
        result = bench.in_turns(train_sides(bench, shape), "steps", warm=settled(bench), seconds=1.0)
        tokens = shape["batch_size"] * shape["block_size"]
        for side in result["sides"].values():
            side["tokens_per_s"] = round(tokens / side["median_s"])
            if gpu:  # of both sides by our count
                work = result["sides"]["ours"]["flops_per_token"]
                side["mfu"] = flops.utilization(work, side["tokens_per_s"], torch.cuda.get_device_name())
        return {"shape": shape} | result

    tokens = f", {shape['vocab_size']:,} tokens" if "vocab_size" in shape else ""
    case.__doc__ = f"A training step: {shape['n_layer']} layers, width {shape['n_embd']}{tokens}."
    case.gpu = gpu
    return case


def none_against_pre(bench) -> dict:
    """Step time of a stack without skips and of one with them, fresh and when its gradients have died."""
    sides = {name: ("ours", DEEP | {"residual": name, "learning_rate": 1e-3}) for name in ("pre", "none")}
    fresh = bench.in_turns(sides, "steps", warm=2, seconds=0.5)
    steps = 30 if bench.quick else 300
    aged = bench.in_turns(sides, "steps", warm=steps, seconds=0.5)

    def none_over_pre(case: dict) -> dict:
        turns = {name: case["sides"][side]["turns_s"] for name, side in (("ours", "pre"), ("none", "none"))}
        return ratios(turns)["ours against none"]

    over = {"fresh": none_over_pre(fresh), f"after {steps} steps": none_over_pre(aged)}
    return {"shape": DEEP, "none_over_pre": over, **aged}


def added_to_a_step(bench) -> dict:
    """What rotary positions and Muon add to a step, at 4 layers of width 128 and at 24 of 64."""
    plain, over = {"pos": "learned", "optimizer": "adamw"}, {}
    failed = {}
    for shape in (SMALL, NARROW):
        kinds = {"ours": {}, "rotary positions": {"pos": "rope"}, "Muon": {"optimizer": "muon"}}
        sides = {name: ("ours", shape | plain | kind) for name, kind in kinds.items()}
        result = bench.in_turns(sides, "steps", warm=settled(bench), seconds=1.0)
        named = {name: result["ratios"].get(f"ours against {name}") for name in kinds}
        over[f"{shape['n_layer']} layers, width {shape['n_embd']}"] = {k: v for k, v in named.items() if v}
        failed |= result.get("failed", {})
    return {"over_plain": over} | ({"failed": failed} if failed else {})


def first_step(bench) -> dict:
    """Seconds from the start of a process to the end of its first step."""
    sides = {"ours": ("ours", MIDDLE)}
    if bench.peer:
        sides["nanogpt"] = ("nanogpt", MIDDLE | {"dtype": "float32", "compile": "False"})
    result = {"sides": bench.fresh(sides, "first_step", rounds=1 if bench.quick else 3)}
    if not bench.quick:
        deep = {str(L): ("ours", DEEP | {"n_layer": L, "compile": "True"}) for L in (12, 96)}
        result["compiled_by_depth"] = bench.fresh(deep, "first_step", rounds=2, cold=True)
        pair = [result["compiled_by_depth"][str(L)]["median_s"] for L in (96, 12)]
        result["compiled_96_over_12"] = round(pair[0] / pair[1], 2)
    return result


def sampling(batch: int):
    """A case: seconds to write 200 tokens."""

    def case(bench) -> dict:
        ours = MIDDLE | bench.known(NANO)
        sides = {"ours": ("ours", ours), "ours float32": ("ours", ours | {"dtype": "float32"})}
        if bench.peer:
            for dtype in ("float32", "bfloat16"):
                sides[f"nanogpt {dtype}"] = ("nanogpt", MIDDLE | {"dtype": dtype, "compile": "False"})
        sides |= other_sides(bench, MIDDLE)
        result = bench.in_turns(sides, "sample", warm=1, seconds=0, batch=batch, tokens=200)
        if own := result["sides"].get("ours"):  # one token at a time has a choice of precision of its own
            here = device.pick_device("auto")
            own["dtype"] = device.pick_dtype("auto", here, MIDDLE["n_embd"], token=True)
        return {"shape": MIDDLE, "tokens": 200, "batch": batch} | result

    case.__doc__ = f"Writing 200 tokens, batch {batch}."
    return case


def val_loss(bench) -> dict:
    """Seconds of training and val loss of nanoGPT's CPU recipe and of ours, three seeds."""
    shape = bench.config("config/nanogpt_shakespeare_char_cpu.py")
    ours = bench.config("config/shakespeare_char_cpu.py")
    if bench.quick:
        shape, ours = (config | {"max_iters": 100, "eval_sequences": 64} for config in (shape, ours))
    result, goal = {"sides": {}}, 1.8857
    if bench.peer:
        worker = bench.start("nanogpt")
        worker.ask("build", settings=shape | {"dtype": "float32", "compile": "False"})
        result["sides"]["nanogpt"] = worker.ask("train_until", goal=0, every=shape["max_iters"])
        goal = result["sides"]["nanogpt"]["val_loss"]
        worker.stop()
    for seed in (1337,) if bench.quick else (1337, 1, 2):  # the first is the one it was chosen with
        worker = bench.start("ours")
        worker.ask("build", settings=ours | {"seed": seed})
        result["sides"][f"ours seed {seed}"] = worker.ask("train_until", goal=0, every=ours["max_iters"])
        worker.stop()
    losses = [side["val_loss"] for name, side in result["sides"].items() if name != "nanogpt"]
    if bench.peer:
        seconds = statistics.mean(side["s"] for name, side in result["sides"].items() if name != "nanogpt")
        result["share_of_nanogpts_time"] = round(seconds / result["sides"]["nanogpt"]["s"], 3)
    if len(losses) > 1:
        result["val_loss"] = {
            "mean": round(statistics.mean(losses), 4),
            "sd": round(statistics.stdev(losses), 4),
        }
    return result | {"goal": goal, "reached_by_all": max(losses) <= goal}


def shakespeare_gpu(bench) -> dict:
    """On a GPU: seconds of training until small Shakespeare models reach nanoGPT's 1.4697, three seeds."""
    recipe = bench.config("config/nanogpt_shakespeare_char.py")
    ours = bench.config("config/shakespeare_char.py")
    seeds = (1337,) if bench.quick else (1337, 1, 2)
    sides = {f"ours seed {seed}": ("ours", ours | {"seed": seed}) for seed in seeds}
    if bench.peer:
        sides["nanogpt"] = ("nanogpt", recipe | {"dtype": "bfloat16", "compile": "True"})
    workers, _, failed = bench.ready(sides, "steps", count=CAPTURED)  # which then count as trained
    result = {"goal": 1.4697, "sides": {}} | ({"failed": failed} if failed else {})
    for name, worker in workers.items():
        goal, every = (1.4697, recipe["eval_interval"]) if name == "nanogpt" else (0, ours["eval_interval"])
        result["sides"][name] = worker.ask("train_until", goal=goal, every=every)
        worker.stop()
    for side in result["sides"].values():
        side["best_val_loss"] = min(loss for *_, loss in side["curve"])
    return result


shakespeare_gpu.gpu = True


def thousand_gpu(bench) -> dict:
    """On a GPU: step time of 1000 layers, with and without CUDA graphs, against its kernels' time."""
    sides = {"ours": ("ours", THOUSAND), "ours without graphs": ("ours", THOUSAND | {"cuda_graph": False})}
    result = bench.in_turns(sides, "steps", warm=CAPTURED, seconds=1.0, last=("kernel_seconds", {"count": 1}))
    for side in result["sides"].values():
        if "kernels_s" in side:
            side["over_kernels"] = round(side["median_s"] / side["kernels_s"], 3)
    return {"shape": THOUSAND} | result


thousand_gpu.gpu = True


def alone(task: str, doc: str):
    """A case that runs one task in a process of ours."""

    def case(bench) -> dict:
        worker = bench.start("ours")
        try:
            return worker.ask(task, quick=bench.quick)
        finally:
            worker.stop()

    case.__doc__ = doc
    return case


CASES = {
    "step-4L128": train_step(SMALL),
    "step-4L128-50k": train_step(WORDS),
    "step-6L384": train_step(MIDDLE),
    "step-48L128": train_step(DEEP),
    "none-pre": none_against_pre,
    "added": added_to_a_step,
    "first-step": first_step,
    "programs": programs,
    "demo": demo,
    "growth": growth,
    "sample-1": sampling(1),
    "sample-8": sampling(8),
    "kernels": alone("kernels", "Matrix products, attention, GELU and optimizers, each way that there is."),
    "data": alone("data", "Preparing data: MB/s against the bare tokenizer."),
    "checkpoint": alone("checkpoint", "Saving a checkpoint."),
    "probe": alone("probe", "What the probes cost a run of config/laptop.py."),
    "loss": alone("loss", "Loss over 50,257 tokens: logits held against a chunk at a time."),
    "val": val_loss,
    "gpt2": train_step(GPT2 | {"batch_size": 16}, gpu=True),
    "48L384": train_step(DEEP_GPU, gpu=True),
    "1000L": thousand_gpu,
    "shakespeare": shakespeare_gpu,
}
