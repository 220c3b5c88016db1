"""Where a run stopped being finite: the part of the batch, and the layer."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_config

from model import GPT
from reslab.data.dataset import TokenDataset
from reslab.instruments import divergence

PARTS, SIZE = 3, 2


@pytest.fixture
def dataset(dataset_folder):
    return TokenDataset(Path(dataset_folder), 8, 1)


def rare_token(dataset, step: int, part: int) -> int:
    """A token that the inputs of this part of the batch hold, and those of the parts before it don't."""
    inputs = dataset.batch("train", step, PARTS * SIZE)[0].numpy()  # (6, T)
    before = set(inputs[: part * SIZE].flatten())
    return int(next(i for i in inputs[part * SIZE : (part + 1) * SIZE].flatten() if i not in before))


@pytest.mark.parametrize("part", range(PARTS))
def test_the_first_bad_part_of_the_batch_is_told(dataset, part):
    step = 17
    model = GPT(tiny_config(vocab_size=dataset.vocab_size, tie_weights=False))
    with torch.no_grad():
        model.wte.weight[rare_token(dataset, step, part)] = math.nan
    row = divergence.trace(model, dataset, step, PARTS, SIZE)
    starts = dataset.starts("train", step, PARTS * SIZE)[part * SIZE : (part + 1) * SIZE]
    assert row["sequence_starts"] == starts.tolist() and row["first_bad"] == "block 0, forward"
    assert row["status"] == "diverged"
    assert row["diagnosis"].startswith("diverged at step 17:")
    assert row["diagnosis"].endswith("first bad: block 0, forward")


def test_what_is_finite_here_is_said_to_be_nowhere(dataset):
    row = divergence.trace(GPT(tiny_config(vocab_size=dataset.vocab_size)), dataset, 3, PARTS, SIZE)
    assert row["first_bad"].startswith("nowhere in float32")
    last = dataset.starts("train", 3, PARTS * SIZE)[-SIZE:]
    assert np.array_equal(row["sequence_starts"], last)
