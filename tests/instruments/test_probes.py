"""The probes: true to their formulas, and without a trace."""

import math
from pathlib import Path

import pytest
import torch
from conftest import tiny_config, tiny_model

from reslab.instruments import probes
from reslab.instruments.probe import Probe
from reslab.instruments.probes import PROBES, due, early_warning, measure
from reslab.instruments.snapshot import snapshot
from reslab.model import GPT
from reslab.residual import WIRINGS
from reslab.run.derived import with_derived
from reslab.run.log import read_run
from reslab.training.loop import train

IDS = torch.randint(19, (4, 8), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(19, (4, 8), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("wiring", WIRINGS)
def test_every_probe_measures_every_wiring(wiring):
    model = tiny_model(residual=wiring)
    row = measure(snapshot(model, IDS, TARGETS))
    lengths = {name: len(row[f"probe/{name}"]) for name in PROBES}
    assert set(lengths.values()) == {3, 4, 6, 7}  # blocks, streams, sublayers, streams around sublayers
    for name in PROBES:
        assert all(value is None or math.isfinite(value) for value in row[f"probe/{name}"]), name
    unsplit = not WIRINGS[wiring].single_tensor or wiring in ("post", "deepnorm", "keel", "highway")
    unknown = {"skip_gradient", "branch_gradient", "added_rms", "added_cosine"} if unsplit else set()
    assert {name for name in PROBES if None in row[f"probe/{name}"]} == unknown
    assert row["probe/resid_gradient"][0] > 0


@pytest.mark.parametrize("wiring", ["pre", "hyper", "x0"])
def test_the_reach_is_the_gradient_by_finite_differences(wiring):
    """dL/dh at the stream before block 1: moving h along it changes the loss by its norm."""
    model = tiny_model(residual=wiring)
    seen = snapshot(model, IDS, TARGETS)
    gradient = seen.stream_gradients[1]
    step = 1e-6 * gradient / gradient.norm()

    def loss(sign):
        def move(module, args):
            stream = args[0]
            if isinstance(stream, tuple):
                return ((stream[0] + sign * step, *stream[1:]),)
            return (stream + sign * step,)

        handle = model.blocks[1].register_forward_pre_hook(move)
        value = model.loss(IDS, TARGETS)
        handle.remove()
        return value.item()

    slope = (loss(1) - loss(-1)) / 2e-6
    assert slope == pytest.approx(gradient.norm().item(), rel=1e-5)


def test_diversity_entropy_and_shares_have_their_known_values():
    model = GPT(tiny_config()).double()
    with torch.no_grad():
        model.wpe.weight.zero_()
    same = torch.full((2, 8), 3)
    row = measure(snapshot(model, same, TARGETS[:2]))
    assert max(row["probe/token_diversity"]) < 1e-7  # all tokens alike
    assert row["probe/attention_entropy"] == pytest.approx([1.0] * 3)  # so attention is uniform
    row = measure(snapshot(GPT(tiny_config()).double(), IDS, TARGETS))
    assert row["probe/token_diversity"][0] > 0.5
    assert row["probe/layers_that_learn"] == 3 and early_warning(row) is None


CONSTANT_SKIP = [name for name, w in WIRINGS.items() if w.single_tensor and w.skip is not None]


@pytest.mark.parametrize("wiring", CONSTANT_SKIP)
def test_what_is_added_and_the_parts_of_the_gradient_fit_the_equation(wiring):
    """y = s x + a at every sublayer, and dL/dx is what came by the skip and what came by the branch."""
    model = tiny_model(residual=wiring)
    part, row = snapshot(model, IDS, TARGETS), measure(snapshot(model, IDS, TARGETS))
    values = {name: row[f"probe/{name}"] for name in PROBES}
    for k in range(6):
        s, x, y, a = part.skip(k), *part.resid[k : k + 2], part.added(k)
        assert (s * x + a - y).abs().max() < 1e-12 and torch.equal(
            [part.attn_out, part.mlp_out][k % 2][k // 2], a
        )
        g = part.sublayer_gradients(k)
        assert (g.through_skip + g.through_branch - g.grad_in).abs().max() < 1e-10
        # The numbers that a page shows, by the law of cosines.
        rms, added, cosine = values["resid_rms"], values["added_rms"][k], values["added_cosine"][k]
        square = (s * rms[k]) ** 2 + added**2 + 2 * s * rms[k] * added * cosine
        assert square == pytest.approx(rms[k + 1] ** 2, rel=1e-9)
        sides = sorted(
            [values["skip_gradient"][k], values["branch_gradient"][k], values["resid_gradient"][k]]
        )
        assert sides[2] <= (sides[0] + sides[1]) * (1 + 1e-9)
    # The branch's part against autograd on that sublayer alone: J^T g without the skip.
    x, block = part.resid_pre[1].clone().requires_grad_(), model.blocks[1]
    gradients = part.sublayer_gradients(2)
    added = block.attn_residual(x, block.attn) - part.skip(2) * x
    (expected,) = torch.autograd.grad(added, x, gradients.grad_out)
    assert (gradients.through_branch - expected).abs().max() < 1e-10
    cut = [bool(torch.as_tensor(part.skip(k) == 0).all()) for k in range(6)]
    assert [gradient == 0 for gradient in values["skip_gradient"]] == cut


@pytest.mark.parametrize(("wiring", "factor"), [("sandwich", None), ("completep", 2 / 3), ("silent", 0.0)])
def test_what_is_added_holds_gain_and_outer_norm_and_the_branch_does_not(wiring, factor):
    model = tiny_model(residual=wiring)
    part = snapshot(model, IDS, TARGETS)
    for branch, added, block in zip(part.mlp_branch, part.mlp_out, model.blocks, strict=True):
        with torch.no_grad():
            expected = block.mlp_residual.norm_out(branch) if factor is None else factor * branch
        assert torch.allclose(added, expected, atol=1e-12)
    assert part.resid_post[0] is part.resid_pre[1] and len(part.resid_mid) == 3


def test_a_reader_derives_what_is_not_stored():
    part = snapshot(tiny_model(), IDS, TARGETS)
    row = with_derived(measure(part))
    norms = [g.double().square().sum().sqrt().item() for g in part.stream_gradients]
    assert row["probe/gradient_norm"] == norms
    assert row["probe/gradient_reach"] == [norm / norms[-1] for norm in norms]
    assert row["probe/stream_rms"] == [math.sqrt(x.square().sum().item() / x.numel()) for x in part.streams]
    assert with_derived({"step": 3}) == {"step": 3}
    gaps = with_derived({"probe/resid_gradient": [1.0, 2.0, None]})
    assert gaps["probe/gradient_reach"] == [None, None]
    assert with_derived({"probe/resid_gradient": [1.0, 2.0, 0.0]})["probe/gradient_reach"] == [0.0, 0.0]


def test_a_probe_may_give_a_number_a_list_or_a_list_of_lists(monkeypatch):
    """Each is the mean over the sequences; sums are read once they are complete."""
    each = [snapshot(tiny_model(), IDS[k : k + 1], TARGETS[k : k + 1]) for k in range(4)]
    given = iter([1.0, 2.0, 3.0, 6.0])
    nested = Probe(lambda part: [[x.mean(), None] for x in part.resid_pre], "nested")
    monkeypatch.setattr(
        probes, "PROBES", PROBES | {"number": Probe(lambda part: next(given), ""), "nested": nested}
    )
    row = probes.measure_batch(tiny_model(), IDS, TARGETS)
    assert row["probe/number"] == 3.0
    means = [sum(part.resid_pre[k].mean().item() for part in each) / 4 for k in range(3)]
    assert row["probe/nested"] == [[pytest.approx(mean), None] for mean in means]


def test_a_probe_that_raises_is_null_with_one_warning_and_the_run_goes_on(train_config, monkeypatch, capsys):
    def broken(part):
        raise KeyError("no such\nsite")

    monkeypatch.setattr(probes, "PROBES", PROBES | {"broken": Probe(broken, "")})
    config = train_config()
    assert train(config) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "broken" in line]
    assert len(warnings) == 1 and warnings[0].startswith("warning: probe broken failed (KeyError: ")
    rows = [row for row in read_run(Path(config.out_dir)).rows if "probe/qk_gradient" in row]
    assert len(rows) == 6 and all(row["probe/broken"] is None for row in rows)


def test_a_probe_that_fails_on_a_part_of_the_batch_is_null(monkeypatch):
    given = iter([1.0, None, 1.0, 1.0])
    monkeypatch.setattr(probes, "PROBES", PROBES | {"broken": Probe(lambda part: 0.0 + next(given), "")})
    assert probes.measure_batch(tiny_model(), IDS, TARGETS)["probe/broken"] is None
    assert list(given) == [1.0, 1.0]  # it was not called again


MISTAKES = {
    "tensor": (
        lambda part: part.resid_pre[0].mean(dim=-1),
        "it gives a tensor; give numbers or lists of num",
    ),
    "tensors": (lambda part: [x.mean(dim=-1) for x in part.resid_pre], "it gives a tensor; give numbers or"),
    "short": (lambda part: [1.0, 2.0], "it gives a list of 2; the sites block of 3 layers have 3"),
    "nan": (lambda part: [math.nan] * 3, "it gives nothing but NaN"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_probe_that_gives_what_no_page_can_show_is_told_once(name, monkeypatch, capsys):
    function, reason = MISTAKES[name]
    monkeypatch.setattr(probes, "PROBES", PROBES | {name: Probe(function, "")})
    for _ in range(2):
        row = probes.measure_batch(tiny_model(), IDS, TARGETS)
        assert row[f"probe/{name}"] is None or name == "nan"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: probe {name} failed (ValueError: {reason}"), line
    assert line.endswith("; it is null in the log")


def test_a_model_that_has_diverged_gets_no_warning_for_each_probe(capsys):
    model = tiny_model()
    model.wte.weight.data.fill_(math.nan)
    measure(snapshot(model, IDS, TARGETS))
    assert capsys.readouterr().err == ""


def test_a_list_is_no_number_of_the_model(monkeypatch, capsys):
    given = {"one": Probe(lambda part: 1.0, "", sites=()), "list": Probe(lambda part: [1.0], "", sites=())}
    monkeypatch.setattr(probes, "PROBES", PROBES | given)
    row = measure(snapshot(tiny_model(), IDS, TARGETS))
    assert row["probe/one"] == 1.0 and row["probe/list"] is None
    assert (
        "probe list failed (ValueError: it gives a list of 1; MODEL is one number)" in capsys.readouterr().err
    )


def test_a_scale_that_no_axis_has_is_refused():
    with pytest.raises(ValueError, match="probe 'peak': scale=logarithmic: allowed are log, linear"):
        Probe(len, "peak", scale="logarithmic")


def test_a_row_without_diversity_or_gradients_gives_no_warning_and_no_count(monkeypatch):
    broken = {name: Probe(lambda part: 1 / 0, "") for name in ("token_diversity", "resid_gradient")}
    monkeypatch.setattr(probes, "PROBES", PROBES | broken)
    row = measure(snapshot(tiny_model(), IDS, TARGETS))
    assert row["probe/layers_that_learn"] is None and early_warning(row) is None


def test_every_probe_is_described_for_the_page():
    described = probes.describe()
    assert described.keys() == PROBES.keys() | {"update_ratio", "layers_that_learn"}
    row = measure(snapshot(tiny_model(), IDS, TARGETS))
    for name in PROBES:
        places = 3 * len(described[name]["sites"])
        assert len(row[f"probe/{name}"]) in (places, places + ("resid_pre" in described[name]["sites"]))
        assert described[name]["scale"] in ("log", "linear") and described[name]["label"]


def test_a_skip_of_one_kind_of_sublayer_is_measured_alone():
    row = measure(snapshot(tiny_model(residual="pre", mlp_residual="post"), IDS, TARGETS))
    assert [value is None for value in row["probe/skip_gradient"]] == [False, True] * 3


def test_a_probe_leaves_nothing_behind():
    model = tiny_model(dropout=0.5).train()
    state = torch.random.get_rng_state()
    measure(snapshot(model, IDS, TARGETS))
    assert model.training and torch.equal(state, torch.random.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks and not module._backward_hooks


def test_losses_do_not_feel_the_probes(train_config, tmp_path):
    seen, unseen = (
        train_config(dropout=0.1),
        train_config(dropout=0.1, out_dir=str(tmp_path / "b"), probes=False),
    )
    train(seen), train(unseen)
    runs = [read_run(Path(config.out_dir)) for config in (seen, unseen)]
    for key in ("batch/loss", "batch/grad_norm", "val/loss"):
        assert runs[0].series(key) == runs[1].series(key)
    assert runs[0].series("probe/qk_gradient")[0] == [0, 1, 3, 5, 10, 12]
    assert runs[0].series("probe/update_ratio")[0] == [0, 1, 3, 5, 10]
    assert not runs[1].series("probe/qk_gradient")[0]


def test_probes_come_early_and_at_evaluations():
    assert [step for step in range(131) if due(step, 50, step == 130)] == [0, 1, 3, 10, 30, 50, 100, 130]


def test_a_dead_stack_is_told_early_and_a_living_one_is_not(train_config, tmp_path):
    shape = {"n_layer": 12, "n_embd": 32, "max_iters": 31, "eval_interval": 31}
    dead = train_config(residual="none", **shape)
    alive = train_config(residual="pre", out_dir=str(tmp_path / "b"), **shape)
    train(dead), train(alive)
    dead, alive = (read_run(Path(config.out_dir)) for config in (dead, alive))
    steps, lines = dead.series("early_warning")
    assert len(steps) == 1 and steps[0] <= 50
    assert lines[0].startswith("this stack is unlikely to train: behind")
    assert "of 12 layers all tokens look alike" in lines[0]
    assert alive.series("early_warning") == ([], [])
    assert alive.last("probe/layers_that_learn") == 12
    assert dead.last("probe/layers_that_learn") < 3
