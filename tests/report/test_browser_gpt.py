"""What trains in the browser is our model: its loss, gradients and updates are those of torch."""

import pytest
import torch
from conftest import tiny_model

from reslab.instruments.probes import measure_batch
from reslab.report.html import WEB, WORKER
from reslab.report.pictures import missing
from reslab.run.settings import OptimConfig
from reslab.training.optimizer import learning_rate, make_optimizer, set_learning_rate

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=missing() or "")]

UPDATES = 5
OPTIM = {"learning_rate": 3e-3, "warmup_iters": 2, "schedule": "constant", "max_iters": 9, "grad_clip": 1.0}
OPTIM |= {"beta1": 0.9, "beta2": 0.95, "adam_eps": 1e-8, "weight_decay": 0.1}
SKIPS = {"pre": 1, "none": 0}


@pytest.fixture
def javascript(chrome):
    """Runs a body of JavaScript that knows what the worker knows; its arguments are in `arguments`."""
    sources = [(WEB / name).read_text(encoding="utf-8") for name in WORKER if name != "worker.js"]
    chrome.get("about:blank")
    return lambda body, *args: chrome.execute_script("\n".join([*sources, body]), *args)


def batch(model) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets (4, T)."""
    ids = torch.randint(model.config.vocab_size, (4, model.config.block_size + 1))
    return ids[:, :-1], ids[:, 1:]


def arguments(model, x, y) -> list:
    """A model and a batch as the scripts take them: shape, weights, tokens, targets."""
    config = model.config
    shape = {"V": config.vocab_size, "T": config.block_size, "C": config.n_embd, "H": config.n_head}
    shape |= {"L": config.n_layer, "skip": SKIPS[config.residual]}
    weights = {name: p.flatten().tolist() for name, p in model.named_parameters()}
    return [shape, weights, x.flatten().tolist(), y.flatten().tolist()]


START = """
    const [shape, lists, tokens, targets, options, updates] = arguments;
    const each = (tensors, f) => Object.fromEntries(Object.entries(tensors).map(([name, t]) => [name, f(t)]));
    const weights = each(lists, (list) => Float64Array.from(list));
    const plain = (tensors) => each(tensors, (tensor) => [...tensor]);
"""


@pytest.mark.parametrize("residual", SKIPS)
def test_loss_gradients_and_reach_are_those_of_torch(javascript, residual):
    model = tiny_model(residual=residual)
    x, y = batch(model)
    loss = model.loss(x, y)
    loss.backward()
    found = javascript(
        f"""{START}
        const {{ loss, gradients, reach }} = lossAndGradients(shape, weights, tokens, targets);
        return {{ loss, reach, gradients: plain(gradients) }};""",
        *arguments(model, x, y),
    )
    assert found["loss"] == pytest.approx(loss.item(), rel=1e-9)
    assert found["reach"] == pytest.approx(measure_batch(model, x, y)["probe/resid_gradient"], rel=1e-6)
    expected = {name: p.grad.flatten().tolist() for name, p in model.named_parameters()}
    assert set(found["gradients"]) == set(expected)
    for name, gradient in expected.items():
        scale = max(map(abs, gradient))
        assert found["gradients"][name] == pytest.approx(gradient, rel=1e-6, abs=1e-9 * scale), name


@pytest.mark.parametrize("residual", SKIPS)
def test_weights_after_some_updates_are_those_of_torch(javascript, residual):
    model = tiny_model(residual=residual).train()
    x, y = batch(model)
    given, config = arguments(model, x, y), OptimConfig(**OPTIM)
    optimizer, losses, norms = make_optimizer(model, config), [], []
    for step in range(UPDATES):
        loss = model.loss(x, y)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip).item())
        set_learning_rate(optimizer, config, learning_rate(config, step))
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    options = {"rate": config.learning_rate, "warmup": config.warmup_iters, "clip": config.grad_clip}
    options |= {"beta1": config.beta1, "beta2": config.beta2, "eps": config.adam_eps}
    found = javascript(
        f"""{START}
        const state = {{ step: 0, m: zerosLike(weights), v: zerosLike(weights) }};
        const [losses, norms] = [[], []];
        for (let k = 0; k < updates; k++) {{
            const {{ loss, gradients }} = lossAndGradients(shape, weights, tokens, targets);
            losses.push(loss);
            norms.push(adamw(weights, gradients, state, options));
        }}
        return {{ losses, norms, weights: plain(weights) }};""",
        *given,
        options | {"decay": config.weight_decay},
        UPDATES,
    )
    assert norms[0] > config.grad_clip and losses[-1] < losses[0]  # so that clipping and the rate are tested
    assert found["losses"] == pytest.approx(losses, rel=1e-6)
    assert found["norms"] == pytest.approx(norms, rel=1e-6)
    for name, parameter in model.named_parameters():
        assert found["weights"][name] == pytest.approx(parameter.flatten().tolist(), abs=1e-6), name


def test_both_arms_start_as_the_models_do(javascript):
    """The same draws in both arms, std 0.02, and a weight for each of the model's."""
    shape = {"V": 50, "T": 16, "C": 32, "H": 2, "L": 2}
    body = f"{START} return plain(gptInit(shape, 1337));"
    arms = {name: javascript(body, shape | {"skip": skip}, {}) for name, skip in SKIPS.items()}
    assert arms["pre"] == arms["none"]
    model = tiny_model(n_layer=2, n_embd=32, vocab_size=50, block_size=16)
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    assert {name: len(values) for name, values in arms["pre"].items()} == sizes
    for name, values in arms["pre"].items():
        if model.get_parameter(name).dim() == 2:
            spread = torch.tensor(values, dtype=torch.float64)
            assert spread.std().item() == pytest.approx(0.02, rel=0.15), name
            assert abs(spread.mean().item()) < 0.003, name
        else:
            assert set(values) == {float(name.endswith("weight"))}, name
