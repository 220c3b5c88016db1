"""What a model writes while it trains: the same prompt and the same draws at a few evaluations of a run."""

from collections.abc import Callable

import torch

from reslab.data.dataset import TokenDataset
from reslab.system.device import uncompiled

PROMPT = 16  # tokens of the validation split
TEMPERATURE = 0.8
TOKENS_LAYERS = 7200  # tokens x layers of a text: a token costs a pass through every layer
LEAST = 16  # tokens


def due(evaluations: int, ends: bool) -> bool:
    """Whether an evaluation writes a text: 0, 1, 2, 4, 8, ... and the last, a handful in any run."""
    return ends or evaluations & (evaluations - 1) == 0


def write(
    model, dataset: TokenDataset, tokens: int, seed: int, before_token: Callable[[], None] = lambda: None
) -> dict:
    """Continue the first words of the validation split; the global random state is not touched.

    Args:
        model: a GPT in eval mode; it runs uncompiled, because the context grows and no shape comes twice.
        tokens: longest text; deep stacks write less.
        before_token: is called before each token; what it raises ends the text.

    Returns:
        the keys of a row: sample/prompt and sample/text.
    """
    run_device = next(model.parameters()).device
    prompt, _ = dataset.sequences("val", dataset.eval_starts("val", 1))
    prompt = prompt[:, :PROMPT].to(run_device)  # (1, T)
    length = min(tokens, max(LEAST, TOKENS_LAYERS // model.config.n_layer))
    draws, ids = torch.Generator(run_device).manual_seed(seed), []
    with uncompiled():
        for token in model.generate(
            prompt, length, TEMPERATURE, generator=draws, vocab_size=dataset.vocab_size
        ):
            before_token()
            ids.append(token)

    def text(ids) -> str:
        return dataset.tokenizer.decode_bytes(ids).decode("utf-8", "replace")

    return {"sample/prompt": text(prompt[0].tolist()), "sample/text": text([token.item() for token in ids])}
