"""A trained model as files of transformers, which are read again and compared before they count."""

from pathlib import Path

import torch

from reslab.data.hf_tokenizer import END_OF_TEXT, to_tokenizers
from reslab.training import init_from

TOLERANCE = 1e-5  # of the logits, relative to the largest


def make_tokenizer(tokenizer, model):
    """The run's tokenizer for transformers."""
    made = init_from.transformers().PreTrainedTokenizerFast(
        tokenizer_object=to_tokenizers(tokenizer),
        model_max_length=model.config.block_size,
        clean_up_tokenization_spaces=False,
    )
    if getattr(tokenizer, "name", "") == "gpt2":
        made.add_special_tokens({"eos_token": END_OF_TEXT, "bos_token": END_OF_TEXT})
    return made


def write(folder: Path, model, tokenizer) -> float:
    """Write all files, read them again, and return how far the logits of both are apart.

    Raises:
        ValueError: transformers has no such model, or what was written is not the same model.
    """
    theirs, their_tokenizer = init_from.to_transformers(model), make_tokenizer(tokenizer, model)
    theirs.config.bos_token_id = theirs.generation_config.bos_token_id = their_tokenizer.bos_token_id
    theirs.config.eos_token_id = theirs.generation_config.eos_token_id = their_tokenizer.eos_token_id
    theirs.save_pretrained(folder)
    their_tokenizer.save_pretrained(folder)
    package = init_from.transformers()
    again = package.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    T = min(model.config.block_size, 64)
    idx = torch.randint(tokenizer.vocab_size, (2, T), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = model(idx)
        apart = (ours - again(idx).logits).abs().max().item()
    if not apart <= TOLERANCE * max(1.0, ours.abs().max().item()):
        raise ValueError(f"the logits of what was written differ by {apart:.1e}; nothing was kept")
    text = tokenizer.decode_bytes(idx.flatten().tolist()).decode("utf-8", "replace")
    text = text.replace("\N{REPLACEMENT CHARACTER}", "")
    their_ids = package.AutoTokenizer.from_pretrained(folder, local_files_only=True)(
        text, verbose=False
    ).input_ids
    if their_ids != tokenizer.encode(text).tolist():
        raise ValueError("the tokenizer that was written gives other ids; nothing was kept")
    return apart
