"""What a model writes: by sample.py, and at a few evaluations of a run from the same prompt and draws."""

import codecs
from collections.abc import Callable, Iterator

import torch

from reslab.data.dataset import TokenDataset
from reslab.run.options import SampleConfig
from reslab.system.device import uncompiled

PROMPT = 16  # tokens of the validation split
TOKENS_LAYERS = 7200  # tokens x layers of a text: a token costs a pass through every layer
LEAST = 16  # tokens


def due(evaluations: int, ends: bool) -> bool:
    """Whether an evaluation writes a text: 0, 1, 2, 4, 8, ... and the last, a handful in any run."""
    return ends or evaluations & (evaluations - 1) == 0


def pieces(model, tokenizer, prompt: torch.Tensor, config: SampleConfig, sample: int = 0) -> Iterator[str]:
    """One text after a prompt (1, T), each piece as soon as its characters are whole.

    Ids that pad the vocabulary are never chosen. The text stops at the end-of-text token, or holds it.

    Args:
        sample: number of the text; each has draws of its own.
    """
    draws = torch.Generator(prompt.device).manual_seed(config.seed + sample)
    tokens = model.generate(
        prompt,
        config.max_new_tokens,
        config.temperature,
        config.top_k or None,
        config.top_p,
        draws,
        tokenizer.vocab_size,
    )
    decoder, spell = codecs.getincrementaldecoder("utf-8")(errors="replace"), tokenizer.speller()
    for token in tokens:
        if token.item() == tokenizer.end_of_text_id and config.end_of_text == "stop":
            break
        yield decoder.decode(spell(token.item()))
    yield decoder.decode(b"", final=True)


def write(
    model, dataset: TokenDataset, tokens: int, seed: int, at_each_token: Callable[[], None] = lambda: None
) -> dict:
    """Continue the first words of the validation split; the global random state is not touched.

    Args:
        model: a GPT in eval mode; it runs uncompiled, because the context grows and no shape comes twice.
        tokens: longest text; deep stacks write less.
        at_each_token: is called as each is there; what it raises ends the text.

    Returns:
        the keys of a row: sample/prompt and sample/text.
    """
    prompt, _ = dataset.sequences("val", dataset.eval_starts("val", 1))
    prompt = prompt[:, :PROMPT].to(next(model.parameters()).device)  # (1, T)
    length = min(tokens, max(LEAST, TOKENS_LAYERS // model.config.n_layer))
    tokenizer, text = dataset.tokenizer, []
    with uncompiled():
        for piece in pieces(model, tokenizer, prompt, SampleConfig(max_new_tokens=length, seed=seed)):
            at_each_token()
            text.append(piece)
    prompt_text = tokenizer.spell(prompt[0].tolist()).decode("utf-8", "replace")
    return {"sample/prompt": prompt_text, "sample/text": "".join(text)}
