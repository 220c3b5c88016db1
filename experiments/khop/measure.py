"""Trains the stacks of config/khop.py, and measures how often each answers rightly, by the number of hops.

    python -m experiments.khop.measure --json experiments/khop/result.json

Runs that are there are kept, so the same command goes on. What is asked are lines of the validation split
(data/khop/prepare.py), whose circles no stack was trained on; an answer is the likeliest next token.
"""

import torch

from experiments import measured
from experiments.best import chosen
from experiments.bisect import train
from reslab.data.dataset import open_dataset
from reslab.run.config import parse, run_door
from reslab.run.options import CompareConfig
from reslab.training.grid import plan
from reslab.training.load import load

CONFIG = "config/khop.py"
SETTINGS = ("residual", "init", "n_layer", "muon_lr", "seed")
ROWS = 2000  # sequences of whole lines that are read
AT_ONCE = 100


def whole_lines(tokens: torch.Tensor, newline: int, longest: int) -> tuple[torch.Tensor, int]:
    """Tokens that begin with a line, as rows (N, T) of as many whole lines as T <= longest tokens hold, and
    the length of a line."""
    length = tokens.tolist().index(newline) + 1
    width = longest // length * length
    return tokens[: len(tokens) // width * width].view(-1, width), length


@torch.no_grad()
def accuracy(model, rows: torch.Tensor, length: int) -> dict[int, float]:
    """The share of right answers for each number of hops, by its token.

    Args:
        rows: whole lines (N, T); a line ends with the hops, the start, the answer and a newline.
    """
    answers = torch.arange(length - 2, rows.shape[1], length)  # where they stand in a row
    logits = [model(part[:, :-1])[:, answers - 1] for part in rows.split(AT_ONCE)]  # (AT_ONCE, lines, V)
    right = torch.cat(logits).argmax(dim=-1) == rows[:, answers]
    hops = rows[:, answers - 2]
    return {token: right[hops == token].double().mean().item() for token in hops.unique().tolist()}


def main(argv: list[str]) -> None:
    options = measured.arguments(__doc__).parse_args(argv)
    config = parse(CompareConfig, [CONFIG], leave_out=("study",)).config
    cells, records = plan(config, [CONFIG], []), []
    runs = train(cells, options.jobs)
    runs |= train(chosen(cells, runs, "muon_lr"), options.jobs)
    dataset = open_dataset(config.train.dataset, config.train.model.block_size, seed=0)
    characters = dataset.tokenizer.to_json()["chars"]
    tokens = torch.from_numpy(dataset.ids["val"][:].astype("int64"))
    rows, length = whole_lines(tokens, characters.index("\n"), config.train.model.block_size)
    for folder, run in runs.items():
        record = {"run": folder.name, "step": run.rows[-1]["step"], "status": run.status}
        record |= {key: run.config[key] for key in SETTINGS}
        record |= {key: run.last(key) for key in ("train/loss", "val/loss")}
        if run.status == "finished":
            model, _, _ = load(folder, weights="last")
            shares = accuracy(model, rows[:ROWS], length)
            record["accuracy"] = {characters[token]: round(share, 4) for token, share in shares.items()}
        records.append(record)
    measured.write(options.json, "experiments.khop.measure", records)


if __name__ == "__main__":
    run_door(main)
