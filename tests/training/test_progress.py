"""What is shown of a running training: rates and times by a clock of ours, and how it is stopped."""

import io
import itertools
import os
import re
import shlex
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from reslab.run.log import read_run
from reslab.training import loop
from reslab.training.loop import train
from reslab.training.progress import Progress, Stop, resume_command
from reslab.training.throughput import Throughput

ROW = {"train/loss": 1.25, "train/loss_se": 0.5, "val/loss": 2.75, "val/loss_se": 0.125}


def test_an_evaluation_is_a_line_with_the_time_that_is_left(capsys):
    throughput = Throughput(tokens_per_step=50, mfu_of=lambda rate: rate / 1000)
    with Progress(total=700, done=100) as progress:
        progress.evaluated(100, ROW, throughput)
        throughput.add(seconds=0.4)
        progress.evaluated(400, ROW, throughput)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "step    100/700   train 1.2500   val 2.7500 ± 0.1250"
    # 300 updates of 50 tokens at 125 tokens per second are two minutes
    assert second == first.replace("100/", "400/") + "   125 tok/s   MFU 12.5%   02:00 left"


def test_without_a_gpu_there_is_no_mfu_and_another_rank_is_silent(capsys):
    throughput = Throughput(tokens_per_step=35)
    throughput.add(seconds=1.0)
    Progress(700, 0).evaluated(350, ROW, throughput)
    Progress(700, 0, enabled=False).evaluated(350, ROW, throughput)
    Progress(700, 0, enabled=False).say("not a word")
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "step    350/700   train 1.2500   val 2.7500 ± 0.1250   35 tok/s   05:50 left"
    ]
    assert not err


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_the_bar_counts_from_where_the_run_goes_on(monkeypatch):
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(sys, "stdout", shown)
    throughput = Throughput(50, mfu_of=lambda rate: rate / 2000)
    with Progress(700, 400) as progress:
        progress.evaluated(400, ROW, throughput)
        throughput.add(seconds=0.04)
        progress.updated(3.5, throughput)
        progress.bar.refresh()
        assert progress.bar.n == 401
        progress.bar.update(299)
    last = re.split(r"[\r\n]", shown.getvalue().rstrip())[-1]
    for part in ("401/700", "batch loss 3.500", "1,250 tok/s", "62.5% MFU"):
        assert part in shown.getvalue(), part
    assert "700/700" in last


@pytest.mark.parametrize("width", [40, 80])
def test_the_bar_fits_and_its_loss_is_that_of_the_update_it_counts(monkeypatch, width):
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    throughput = Throughput(50)
    throughput.add(seconds=0.04)
    with Progress(700, 0) as progress:
        progress.bar.dynamic_ncols, progress.bar.ncols, progress.bar.mininterval = None, width, 0
        for step in range(1, 700):
            progress.updated(float(step), throughput)
    drawn = [line for line in shown.getvalue().split("\r") if "loss" in line]
    assert len(drawn) > 600
    rate = ", 1,250 tok/s" if width == 80 else ""  # no part is cut in its middle
    for line in drawn:
        count, loss, rest = re.match(
            r"(\d+)/700, (?:batch )?loss (\d+)\.\d{3}, \d+:\d\d left(.*)", line
        ).groups()
        assert count == loss and len(line.rstrip("\n")) <= width
        assert rest.startswith(f"{rate} |"), line


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (80, "step    350/700   train 1.2500   val 2.7500 ± 0.1250   1,250 tok/s   00:14 left"),
        (60, "step    350/700   train 1.2500   val 2.7500 ± 0.1250"),
        (40, "step 350/700 train 1.2500 val 2.7500"),
    ],
)
def test_an_evaluation_fits_the_terminal(monkeypatch, width, line):
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(sys, "stdout", shown)
    throughput = Throughput(50)
    throughput.add(seconds=0.04)
    with Progress(700, 0) as progress:
        progress.bar.dynamic_ncols, progress.bar.ncols = None, width
        progress.evaluated(350, ROW, throughput)
    assert line in re.split(r"[\r\n]", shown.getvalue())


def ticking(monkeypatch, start: float, step: float) -> None:
    """The clock of train.py moves by `step` seconds whenever it is read."""
    ticks = itertools.count()
    monkeypatch.setattr(loop.time, "perf_counter", lambda: start + step * next(ticks))


def test_the_rate_is_tokens_over_the_seconds_spent_in_updates(train_config, tmp_path, monkeypatch):
    config = train_config(max_iters=6, gradient_accumulation_steps=3, probes=False, eval_interval=3)
    ticking(monkeypatch, 1000.0, 0.5)  # the clock is read as an update begins and as it ends: half a second
    assert train(config) == 0
    rows = [row for row in read_run(tmp_path / "run").rows if "tokens_per_s" in row]
    assert len(rows) == 6
    # 4 sequences of 16 tokens, three times
    assert [row["tokens_per_s"] for row in rows] == pytest.approx([4 * 16 * 3 / 0.5] * 6)


def test_the_rate_and_the_time_left_that_are_shown_are_those_of_the_rows(train_config, monkeypatch, capsys):
    config = train_config(max_iters=80, eval_interval=20, log_interval=20, probes=False, n_layer=1)
    ticking(monkeypatch, 0.0, 0.5)
    assert train(config) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert [re.match(r"step +(\d+/80) ", line)[1] for line in lines] == [f"{k}/80" for k in range(0, 81, 20)]
    # half a second an update: 60, 40, 20 and 0 of them are left
    ends = [line.partition("   val")[2].split("   ")[1:] for line in lines]
    assert ends == [[], *(["128 tok/s", f"{left} left"] for left in ("00:30", "00:20", "00:10", "00:00"))]


def test_the_seconds_of_a_run_go_on_when_it_is_resumed(train_config, tmp_path, monkeypatch):
    config = train_config(max_iters=4, eval_interval=2)
    ticking(monkeypatch, 1000.0, 0.5)
    assert train(config) == 0
    before = read_run(tmp_path / "run").last("elapsed_s")
    rate = read_run(tmp_path / "run").last("tokens_per_s")
    ticking(monkeypatch, 0.0, 0.5)  # another machine, or another day
    assert train(replace(config, resume=True, optim=replace(config.optim, max_iters=8))) == 0
    run = read_run(tmp_path / "run")
    steps, seconds = run.series("elapsed_s")
    assert seconds == sorted(seconds) and steps[-1] == 8
    assert seconds[-1] == pytest.approx(2 * before, rel=0.3) and seconds[0] < 2
    assert run.last("tokens_per_s") == pytest.approx(rate)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_the_first_signal_asks_and_the_handlers_before_come_back(name):
    number = getattr(signal, name)
    before = {each: signal.getsignal(getattr(signal, each)) for each in ("SIGINT", "SIGTERM", "SIGUSR1")}
    with Stop() as stop:
        assert (
            stop.signal_number == 0 and signal.getsignal(number) != before[name]
        )  # else it would end pytest
        os.kill(os.getpid(), number)
        assert stop.signal_number == number
        os.kill(os.getpid(), signal.SIGTERM)  # a scheduler that repeats itself does no harm
        assert stop.signal_number == number
        if number != signal.SIGINT:
            os.kill(os.getpid(), signal.SIGINT)  # a compare.py that got the signal, too, lets Ray send it
            assert stop.signal_number == number
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)  # a person who repeats it means it
            signal.pause()
    assert {each: signal.getsignal(getattr(signal, each)) for each in before} == before


@pytest.mark.parametrize(
    ("argv", "overwrites", "again"),
    [
        (["train.py", "a.py", "--n_layer=2"], False, "a.py --n_layer=2 --resume"),
        (["train.py", "a.py", "--resume"], False, "a.py --resume"),
        (["train.py", "--resume=True", "a.py"], False, "a.py --resume"),
        (["train.py", "--overwrite", "my file.py"], True, "'my file.py' --resume"),
        (["train.py", "--overwrite=True", "a.py"], True, "a.py --resume"),
        (["train.py", "a.py"], True, "a.py --overwrite=False --resume"),  # a.py says it
    ],
)
def test_the_command_to_go_on_is_the_one_that_began_it(argv, overwrites, again):
    command = resume_command(argv, overwrites, ["torchrun", "--nproc_per_node=2"])
    assert command == f"torchrun --nproc_per_node=2 train.py {again}"
    kept = shlex.split(command)
    assert kept[-1] == "--resume" and Path(kept[2]).name == "train.py"
