"""The steps of the first hour with a GPU (gpu.py), in the order of what is learned first."""

from dataclasses import dataclass
from pathlib import Path

from reslab.residual import WIRINGS
from reslab.system.device import DTYPES

KINDS = (
    "pre",
    "x0",
    "hyper",
    "dense",
    "attention_residual",
    "value_residual",
)  # each is compiled another way
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1"]
TINY = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 16, "batch_size": 4, "max_iters": 4}
TINY |= {"warmup_iters": 1, "eval_interval": 2, "eval_sequences": 6, "sample_tokens": 4, "probe_sequences": 2}


@dataclass(frozen=True)
class Step:
    name: str
    argv: list[str]
    """What comes after `python`."""
    limit_s: int
    run: Path | None = None
    """The run directory whose last numbers are the result."""
    table: Path | None = None
    """The JSON file that is the result."""
    after: str = ""
    """The step that writes what this one reads, where it is not enough that it stands earlier."""

    @property
    def timed(self) -> bool:
        """Whether it needs the machine for itself."""
        return not self.name.startswith("run-")


class Plan:
    """All steps, in order.

    Args:
        folder: where runs and tables go.
        nanogpt: a checkout to measure beside ours, or None.
        tiny: shapes for a CPU.
        settings: further arguments for train.py and compare.py.
    """

    def __init__(self, folder: Path, nanogpt: str | None, tiny: bool, settings: list[str]):
        self.folder, self.nanogpt, self.tiny, self.settings = folder, nanogpt, tiny, settings
        self.steps = []
        self.everything_runs()
        self.speed()
        self.learning()

    def train(self, name: str, config: str, *args: str, limit_s: int, launch=()) -> None:
        """Add a run of train.py."""
        folder = self.folder / name
        argv = [*launch, "train.py", config, *self.shape(*args), f"--out_dir={folder}", "--overwrite"]
        self.steps.append(Step(name, argv, limit_s, run=folder))

    def resume(self, name: str, run: str, until: int, *args: str, limit_s: int, launch=()) -> None:
        """Add a step that goes on with the run of another one, up to so many updates."""
        folder = self.folder / run
        until = f"--max_iters={until // 5 if self.tiny else until}"
        argv = [*launch, "train.py", "config/smoke.py", *self.shape(*args), until, f"--out_dir={folder}"]
        argv.append("--resume")
        self.steps.append(Step(name, argv, limit_s, run=folder, after=run))

    def compare(self, name: str, config: str, *args: str, limit_s: int) -> None:
        table, page = (self.folder / f"{name}.{kind}" for kind in ("json", "html"))
        options = [f"--out_dir={self.folder / name}", "--json", str(table), "--page", str(page)]
        argv = ["compare.py", config, *self.shape(*args), *options]
        self.steps.append(Step(name, argv, limit_s, table=table))

    def bench(self, case: str, rehearsed: str = "") -> None:
        """Add a case of bench.py; `rehearsed` stands in for it on a CPU, where a case without one is left
        out. A peer that is not installed is left out of the result."""
        if self.tiny and not rehearsed:
            return
        table = self.folder / f"speed-{case}.json"
        argv = ["bench.py", "--only", rehearsed if self.tiny else case, "--out", str(table)]
        argv += ["--quick"] if self.tiny else []
        argv += ["--peer", f"nanogpt={self.nanogpt},transformers" if self.nanogpt else "transformers"]
        self.steps.append(Step(f"speed-{case}", argv, 300, table=table))

    def prepare(self, part: str) -> None:
        """Add the preparing of tiny Shakespeare, which a rehearsal does not read."""
        if not self.tiny:
            self.steps.append(Step(f"{part}-prepare", ["data/shakespeare_char/prepare.py"], 60))

    def shape(self, *args: str) -> list[str]:
        """Settings; in a rehearsal the tiny ones win over those of a size."""
        if not self.tiny:
            return [*args, *self.settings]
        others = [word for word in args if word.partition("=")[0].removeprefix("--") not in TINY]
        return [*others, *(f"--{key}={value}" for key, value in TINY.items()), *self.settings]

    def everything_runs(self) -> None:
        """Every precision, compiled and not, every wiring, what is saved, and torchrun."""
        smoke = "config/smoke.py"
        for dtype in DTYPES:
            for compiled in ("False",) if dtype == "float64" or self.tiny else ("False", "True"):
                argv = [f"--dtype={dtype}", f"--compile={compiled}"]
                self.train(f"run-{dtype}-compile-{compiled}", smoke, *argv, limit_s=180)
        self.resume("run-resume", "run-float32-compile-False", 30, "--dtype=float32", limit_s=120)
        half = ["--dtype=float16", "--compile=False"]
        self.resume("run-resume-in-float16", "run-bfloat16-compile-False", 30, *half, limit_s=120)
        sample = ["sample.py", str(self.folder / "run-float32-compile-False"), "--max_new_tokens", "50"]
        self.steps.append(Step("run-sample", sample, 120, after="run-resume"))
        trained, other = (str(self.folder / f"run-{name}-compile-False") for name in ("bfloat16", "float32"))
        self.steps.append(Step("run-autopsy", ["autopsy.py", trained], 120, after="run-resume-in-float16"))
        compare = ["compare.py", trained, other, "--page", str(self.folder / "compare.html")]
        self.steps.append(Step("run-compare", compare, 120, after="run-autopsy"))
        for wiring in ("none", *KINDS) if self.tiny else WIRINGS:
            argv = [f"--residual={wiring}", "--max_iters=6", "--compile=False"]  # the last are recorded
            self.train(f"run-{wiring}", smoke, *argv, limit_s=120)
        for wiring in () if self.tiny else KINDS:
            argv = [
                f"--residual={wiring}",
                "--eval_sequences=20",
                "--compile=True",
            ]  # 20 at 8: a last one of 4
            self.train(f"run-{wiring}-compiled", smoke, *argv, limit_s=240)
        again = ["--activation_checkpointing=True"]
        self.train("run-activation-checkpointing", smoke, *again, limit_s=180)
        if not self.tiny:  # which has too few updates to be traced
            self.train("run-profile", smoke, "--profile=True", "--compile=False", limit_s=180)
        for shard in ("none", "fsdp"):
            argv, name = [f"--shard={shard}"], f"run-torchrun-{shard}"
            self.train(name, smoke, *argv, launch=TORCHRUN, limit_s=240)
            self.resume(f"{name}-resume", name, 30, *argv, launch=TORCHRUN, limit_s=240)

    def speed(self) -> None:
        """124M parameters over 1024 tokens, and 48 layers width 384, beside others; nanoGPT's 1.4697 on tiny
        Shakespeare; then ours alone, and last what takes longest."""
        self.bench("gpt2", "step-4L128")
        self.bench("48L384")
        self.prepare("speed")
        for case in ("shakespeare", "1000L", "sample-1", "sample-8"):
            self.bench(case)
        self.bench("probe", "probe")
        self.bench("growth")

    def learning(self) -> None:
        """Tiny Shakespeare; 48 and 1000 layers; the study, width 512."""
        self.prepare("learn")
        self.train("learn-nanogpts-recipe", "config/nanogpt_shakespeare_char.py", limit_s=1200)
        self.compare("learn-shakespeare", "config/shakespeare_char.py", "--seeds", "3", limit_s=1200)
        shape = ["--arms", "pre,none", "--n_embd=384", "--n_head=6", "--block_size=256", "--batch_size=32"]
        self.compare("learn-deep", "config/deep.py", *shape, limit_s=1200)
        shape = ["--arms", "depth_mup,none", "--n_embd=256", "--n_head=4"]
        shape += ["--block_size=256", "--batch_size=32"]
        self.compare("learn-thousand", "config/thousand.py", *shape, "--max_iters=500", limit_s=2400)
        study = "config/smoke.py" if self.tiny else "config/study_gpu.py"
        shape = ["--n_embd=512", "--n_head=8", "--jobs", "2" if self.tiny else "4"]
        self.compare("learn-study", study, *shape, limit_s=3600)
