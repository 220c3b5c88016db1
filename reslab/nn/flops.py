"""The arithmetic of training a GPT, from its settings alone. No torch."""


def tokens_per_update(config) -> int:
    """Tokens that one update of a TrainConfig learns from."""
    return config.batch_size * config.gradient_accumulation_steps * config.model.block_size


def matrix_parameters(config, vocab_size: int = 0) -> int:
    """Weights that each token is multiplied with: those of attention, of the MLP and of the head.

    Biases, norms, embeddings and what a wiring adds are no part of it.

    Args:
        config: a GPTConfig.
        vocab_size: of the dataset, where config.vocab_size is 0.
    """
    C = config.n_embd
    attention = 2 * C * (config.n_head + config.kv_heads) * config.head_width  # q and output, k and v
    mlp = (3 if config.gated else 2) * C * config.mlp_width
    return config.n_layer * (attention + mlp) + C * (config.vocab_size or vocab_size)


def flops_per_token(config, vocab_size: int = 0) -> int:
    """FLOPs of training on one token: 6 N + 12 L H D T, with N of matrix_parameters.

    A weight is used in one multiplication and one addition in the forward pass and in two of each in the
    backward pass; the scores of attention and their use are counted whole, without what causality saves
    (Chowdhery et al. 2022, PaLM, arXiv 2204.02311, appendix B).
    """
    attention = 12 * config.n_layer * config.n_head * config.head_width * config.block_size
    return 6 * matrix_parameters(config, vocab_size) + attention
