"""The losses that are reported, computed a second time by plain loops."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from reslab.data.dataset import TokenDataset
from reslab.model import GPT
from reslab.system import device
from reslab.system.parallel import Single
from reslab.training.evaluate import evaluate
from reslab.training.step import make_state

COUNTS = {
    "train": {"tokens": 700, "chars": 900, "bytes": 1000, "words": 90},
    "val": {"tokens": 60, "chars": 100, "bytes": 170, "words": 20},
}


@pytest.fixture
def place(train_config):
    """A state in training mode with dropout, a dataset whose splits differ in every ratio, a config."""
    config = train_config(dropout=0.5, batch_size=3, vocab_size=200)
    dataset = TokenDataset(Path(config.dataset), 16, config.seed)
    for split, counts in COUNTS.items():
        dataset.meta["splits"][split] |= counts
    state = make_state(config, 200)
    with torch.no_grad():
        for parameter in state.model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return state, config, dataset


def test_more_sequences_than_there_are_cost_no_memory(place):
    dataset = place[2]
    starts = dataset.eval_starts("val", 10**15)
    assert starts.tolist() == list(range(len(dataset.ids["val"]) - 16))


def losses_by_hand(model, dataset, split: str, sequences: int) -> list[float]:
    """Mean nats per token of each sequence, the model without dropout, one token at a time."""
    plain = GPT(replace(model.config, dropout=0.0))
    plain.load_state_dict(model.state_dict())
    losses = []
    for start in dataset.eval_starts(split, sequences):
        ids = torch.from_numpy(dataset.ids[split][start : start + 17].astype("int64"))
        with torch.no_grad():
            scores = plain(ids[None, :16])[0].double()
        losses.append(sum(scores[t].logsumexp(0) - scores[t, ids[t + 1]] for t in range(16)).item() / 16)
    return losses


@pytest.mark.parametrize("sequences", [8, 2])
def test_every_number_is_that_of_plain_loops(place, sequences):
    state, config, dataset = place
    state.model.train()
    row = evaluate(state, replace(config, eval_sequences=sequences), dataset)
    for split in ("train", "val"):
        losses = losses_by_hand(state.model, dataset, split, sequences)
        mean = sum(losses) / sequences
        spread = math.sqrt(sum((loss - mean) ** 2 for loss in losses) / (sequences - 1))
        assert row[f"{split}/loss"] == pytest.approx(mean, rel=1e-5)
        assert row[f"{split}/loss_se"] == pytest.approx(spread / math.sqrt(sequences), rel=1e-4)
    assert abs(row["train/loss"] - row["val/loss"]) > 1e-3
    bits = row["val/loss"] / math.log(2) * 60
    assert row["val/bits_per_char"] == pytest.approx(bits / 100)
    assert row["val/bits_per_byte"] == pytest.approx(bits / 170)
    assert row["val/perplexity"] == pytest.approx(math.exp(row["val/loss"]))
    assert row["val/word_perplexity"] == pytest.approx(math.exp(row["val/loss"] * 60 / 20))
    assert row.keys() == {"train/loss", "train/loss_se", "val/loss", "val/loss_se"} | {
        f"val/{name}" for name in ("perplexity", "word_perplexity", "bits_per_char", "bits_per_byte")
    }


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_losses_are_to_the_bit_those_that_each_batch_gives(place, dtype):
    """However many batches are on their way before one is read."""
    state, config, dataset = place
    config = replace(config, eval_sequences=8, dtype=dtype)  # at 3: two of 3 and one of 2
    state.model.to(torch.float64 if dtype == "float64" else torch.float32)
    row = evaluate(state, config, dataset)
    for split in ("train", "val"):
        losses = torch.zeros(8, dtype=torch.float64)
        for some in torch.arange(8).split(3):
            x, y = dataset.sequences(split, dataset.eval_starts(split, 8)[some.numpy()])
            with torch.no_grad(), device.autocast("cpu", dtype):
                losses[some] = state.model.token_losses(x, y).mean(dim=1).double()
        assert row[f"{split}/loss"] == losses.mean().item()
        assert row[f"{split}/loss_se"] == (losses.std() / 8**0.5).item()


def test_one_sequence_has_no_error_and_a_huge_loss_no_overflow(place):
    state, config, dataset = place
    with torch.no_grad():
        state.model.ln_f.weight.mul_(1e5)
    row = evaluate(state, replace(config, eval_sequences=1), dataset)
    assert row["val/loss_se"] == row["train/loss_se"] == 0.0
    assert row["val/loss"] > 710 and math.isfinite(row["val/perplexity"])


def test_ranks_share_the_sequences(place):
    """Each of three ranks brings the losses of its sequences and zeros for the others; their sum is one's."""
    state, config, dataset = place
    alone = evaluate(state, replace(config, eval_sequences=2), dataset)
    brought = []

    def keep(losses):
        brought.append(losses)
        return losses

    for rank in range(3):  # the third has no sequence, and computes one that it must not count
        dist = SimpleNamespace(
            shard_indices=lambda count, rank=rank: torch.tensor([rank]), all_reduce_sum=keep
        )
        evaluate(state, replace(config, eval_sequences=2), dataset, Single(dist=dist))
    for split, parts in (("train", brought[0::2]), ("val", brought[1::2])):
        assert parts[0][0] > 0 and parts[0][1] == 0 and (parts[2] == 0).all()
        assert sum(parts).mean().item() == pytest.approx(alone[f"{split}/loss"], rel=1e-6)


def test_an_id_outside_the_vocabulary_is_named(place):
    """The first id that is too large is the size itself."""
    _, _, dataset = place
    for split in ("train", "val"):
        rows = dataset.ids[split].copy()
        rows[5] = dataset.vocab_size - 1
        dataset.ids[split] = rows
        dataset.sequences(split, np.array([0]))
        rows[5] = dataset.vocab_size
        with pytest.raises(
            ValueError, match=f"token id {rows[5]} at position 5 in a vocabulary of {rows[5]}"
        ):
            dataset.sequences(split, np.array([0]))
