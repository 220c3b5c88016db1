"""A trained model as files of transformers, which are read again and compared before they count."""

from pathlib import Path

import torch

from reslab.data.hf_tokenizer import to_tokenizers
from reslab.training import init_from

TOLERANCE = 1e-5  # of the logits, relative to the largest


def make_tokenizer(tokenizer, model):
    """The run's tokenizer for transformers, with its end-of-text token.

    Raises:
        ValueError: that token gets another id there.
    """
    converted = init_from.transformers().PreTrainedTokenizerFast(
        tokenizer_object=to_tokenizers(tokenizer),
        model_max_length=model.config.block_size,
        clean_up_tokenization_spaces=False,
    )
    if tokenizer.end_of_text_id is not None:
        end = tokenizer.end_of_text
        converted.add_special_tokens({"eos_token": end, "bos_token": end, "pad_token": end})
        if converted.eos_token_id != tokenizer.end_of_text_id:
            raise ValueError(
                f"the end-of-text token has id {tokenizer.end_of_text_id}, and in what would be written "
                f"{converted.eos_token_id}"
            )
    return converted


def write(folder: Path, model, tokenizer) -> float:
    """Write all files, read them again, and return how far the logits of both are apart.

    Ids that only pad the vocabulary are left out.

    Raises:
        ValueError: transformers has no such model, or what was written is not the same model.
    """
    vocab_size = tokenizer.vocab_size
    theirs, their_tokenizer = init_from.to_transformers(model, vocab_size), make_tokenizer(tokenizer, model)
    theirs.generation_config.max_length = model.config.block_size
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        for config in (theirs.config, theirs.generation_config):
            setattr(config, name, getattr(their_tokenizer, name))
    theirs.save_pretrained(folder)
    their_tokenizer.save_pretrained(folder)
    package = init_from.transformers()
    again = package.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    T = min(model.config.block_size, 64)
    idx = torch.randint(vocab_size, (2, T), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = model(idx)[..., :vocab_size]
        difference = (ours - again(idx).logits).abs().max().item()
    if not difference <= TOLERANCE * max(1.0, ours.abs().max().item()):
        raise ValueError(f"the logits of what was written differ by {difference:.1e}; nothing was kept")
    text = tokenizer.decode_bytes(idx.flatten().tolist()).decode("utf-8", "replace")
    text = text.replace("\N{REPLACEMENT CHARACTER}", "")
    read_again = package.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    their_ids = read_again(text, verbose=False, add_special_tokens=False).input_ids
    if their_ids != tokenizer.encode(text).tolist():
        raise ValueError("the tokenizer that was written gives other ids; nothing was kept")
    return difference
