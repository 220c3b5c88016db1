"""A module of one's own by the names of its parts: right where they are right, told where they are not."""

import copy

import pytest
import torch
from conftest import tiny_model
from torch import nn

from reslab.instruments import dissection
from reslab.instruments.anatomy import anatomy_of, generic
from reslab.instruments.divergence import first_bad_layer
from reslab.instruments.probes import block_matrices, measure_batch, update_ratio
from reslab.instruments.snapshot import snapshot

V, C = 19, 16
IDS = torch.randint(V, (4, 6), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(V, (4, 6), generator=torch.Generator().manual_seed(2))
PARTS = {"attn": "attn", "mlp": "mlp", "attn_norm": "norm1", "mlp_norm": "norm2"}


class Mix(nn.Module):
    """Means over earlier tokens in the place of attention."""

    def __init__(self):
        super().__init__()
        self.v = nn.Linear(C, C)

    def forward(self, x):
        weights = torch.ones(x.shape[1], x.shape[1], dtype=x.dtype).tril()
        return weights / weights.sum(-1, keepdim=True) @ self.v(x)


class Block(nn.Module):
    def __init__(self, form: str):
        super().__init__()
        self.form, self.attn = form, Mix()
        self.norm1, self.norm2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.mlp = nn.Sequential(nn.Linear(C, 2 * C), nn.Tanh(), nn.Linear(2 * C, C))

    def forward(self, x):
        if self.form == "post":
            x = self.norm1(x + self.attn(x))
            return self.norm2(x + self.mlp(x))
        if self.form == "one norm":
            n = self.norm1(x)
            return x + self.attn(n) + self.mlp(n)
        if self.form == "half":
            x = x + 0.5 * self.attn(self.norm1(x))
            return x + self.mlp(self.norm2(x))
        if self.form == "tuple":
            x = x + self.attn(self.norm1(x))
            return x + self.mlp(self.norm2(x)), "a cache"
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Model(nn.Module):
    def __init__(self, form: str = "pre"):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(V, C), nn.Linear(C, V)
        self.layers = nn.ModuleList(Block(form) for _ in range(3))
        self.double()

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.layers:
            x = block(x)
            x = x[0] if isinstance(x, tuple) else x
        return self.head(x)


@pytest.mark.parametrize(
    ("form", "changes", "parts"),
    [
        ("pre", {}, 7),
        ("tuple", {}, 7),
        ("one norm", {"mlp_norm": "norm1", "parallel": True}, 4),
    ],
)
def test_a_module_is_split_into_skip_and_branches(form, changes, parts):
    model = Model(form)
    anatomy = generic(model, blocks="layers", **PARTS | changes)
    part = snapshot(model, IDS, TARGETS, anatomy=anatomy)
    for join in anatomy.joins:
        branches = sum(part.branch_gradients[k] for k in join.sublayers)
        gradient = part.resid_gradients[join.after] + branches
        assert torch.allclose(part.resid_gradients[join.before], gradient, atol=1e-14)
        assert min(part.branch_gradients[k].norm() for k in join.sublayers) > 0
    report = dissection.path_lengths(anatomy, IDS, TARGETS)
    assert len(report["norms"]) == parts and report["error"] < 1e-14
    losses = dissection.sequence_losses(anatomy, IDS, TARGETS)
    for layer in range(3):
        shorter = copy.deepcopy(model)
        del shorter.layers[layer]
        expected = (
            dissection.sequence_losses(generic(shorter, blocks="layers"), IDS, TARGETS) - losses
        ).mean()
        measured = dissection.lesions(anatomy, IDS, TARGETS, draws=1)["block"][layer]["delta"]
        assert measured == pytest.approx(expected.item(), abs=1e-12)


def test_the_gradient_behind_one_norm_is_split_between_attention_and_mlp():
    model = Model("one norm")
    anatomy = generic(model, blocks="layers", **PARTS | {"mlp_norm": "norm1", "parallel": True})
    part, block = snapshot(model, IDS, TARGETS, anatomy=anatomy), model.layers[1]
    x = part.resid[2].clone().requires_grad_()
    for k, branch in ((2, block.attn), (3, block.mlp)):
        (expected,) = torch.autograd.grad(branch(block.norm1(x)), x, part.resid_gradients[4])
        assert torch.allclose(part.branch_gradients[k], expected, atol=1e-14)


def test_post_norm_has_streams_and_no_split():
    model = Model("post")
    anatomy = generic(model, blocks="layers", **PARTS, norm_first=False)
    part = snapshot(model, IDS, TARGETS, anatomy=anatomy)
    assert all(x is not None for x in part.resid) and part.added(0) is None
    block = model.layers[0]
    assert torch.allclose(part.resid[1], block.norm1(part.resid[0] + part.branch[0]))
    with pytest.raises(ValueError, match="a norm stands on its skip"):
        dissection.path_lengths(anatomy, IDS, TARGETS)


def test_blocks_alone_give_what_needs_no_sublayers():
    model = Model()
    anatomy = generic(model, blocks="layers")
    row = measure_batch(model, IDS, TARGETS, anatomy)
    for name in ("token_diversity", "position0_share"):
        assert len(row[f"probe/{name}"]) == 4 and None not in row[f"probe/{name}"]
    for name in ("resid_gradient", "resid_rms"):
        assert row[f"probe/{name}"][1::2] == [None] * 3 and None not in row[f"probe/{name}"][::2]
    for name in ("added_rms", "branch_ratio", "branch_gradient", "attention_entropy", "qk_gradient"):
        assert set(row[f"probe/{name}"]) == {None}, name
    assert row["probe/layers_that_learn"] is None
    report = dissection.lesions(anatomy, IDS, TARGETS)
    assert report["attn"] is report["mlp"] is report["skips"] is None and len(report["block"]) == 3
    assert len(dissection.block_influence(anatomy, IDS, TARGETS)) == 3
    assert len(dissection.jacobians(anatomy, IDS[:1, :2])) == 3
    with pytest.raises(ValueError, match="its attention and MLP are not named"):
        dissection.path_lengths(anatomy, IDS, TARGETS)


def test_our_own_gpt_by_names_gives_what_it_gives_by_its_wirings():
    """Two anatomies of one model: the instruments can't tell them apart."""
    model = tiny_model()
    names = {"attn": "attn", "mlp": "mlp", "attn_norm": "attn_residual.norm", "mlp_norm": "mlp_residual.norm"}
    matrices = {
        "qk": (("attn.c_attn", lambda w: w[:32]),),
        "v": (("attn.c_attn", lambda w: w[32:]),),
        "o": ("attn.c_proj",),
        "w1": ("mlp.c_fc",),
        "w2": ("mlp.c_proj",),
    }
    named, own = generic(model, blocks="blocks", **names, matrices=matrices), anatomy_of(model)
    ours, theirs = (measure_batch(model, IDS, TARGETS, anatomy) for anatomy in (own, named))
    assert theirs.pop("probe/attention_entropy") == [None] * 3 and ours.pop("probe/attention_entropy")
    for name, values in ours.items():
        assert theirs[name] == pytest.approx(values, rel=1e-9), name
    for instrument in (dissection.block_influence, lambda *a: dissection.logit_lens(*a)[0]):
        assert instrument(named, IDS, TARGETS) == pytest.approx(instrument(own, IDS, TARGETS), rel=1e-12)
    reports = [dissection.lesions(a, IDS, TARGETS) for a in (own, named)]
    for kind in ("block", "attn", "mlp", "random"):
        for one, other in zip(*(report[kind] for report in reports), strict=True):
            assert one == pytest.approx(other, rel=1e-9)
    assert reports[0]["skips"] == pytest.approx(reports[1]["skips"], rel=1e-9)
    paths = [dissection.path_lengths(a, IDS, TARGETS)["norms"] for a in (own, named)]
    assert paths[0] == pytest.approx(paths[1], rel=1e-9)
    spectra = [dissection.jacobians(a, IDS[:1, :2])[2]["product"] for a in (own, named)]
    assert spectra[0] == pytest.approx(spectra[1], rel=1e-9)
    assert dissection.perturbation(own, IDS) == dissection.perturbation(named, IDS)


def test_an_update_and_a_divergence_are_found_in_any_module():
    model = Model()
    anatomy = generic(model, blocks="layers")
    before = block_matrices(anatomy)
    with torch.no_grad():
        for parameter in model.layers[1].parameters():
            parameter.mul_(3.0)
    assert update_ratio(anatomy, before) == pytest.approx([0.0, 2.0, 0.0])
    assert "nowhere" in first_bad_layer(anatomy, IDS, TARGETS)
    model.layers[1].mlp[0].weight.data[0, 0] = torch.nan
    assert first_bad_layer(anatomy, IDS, TARGETS) == "block 1, forward"


class LastOnly(Model):
    """Gives logits for the last token alone, as nanoGPT does without targets."""

    def forward(self, ids, targets=None):
        logits = super().forward(ids)
        return (logits, 0.0) if targets is not None else (logits[:, -1:], None)


def test_a_forward_of_ones_own_gives_the_logits():
    model = LastOnly()
    with pytest.raises(ValueError, match=r"gives \(4, 1, 19\) for token ids \(4, 6\).*give forward="):
        snapshot(model, IDS, TARGETS, anatomy=generic(model, blocks="layers", **PARTS))
    anatomy = generic(model, blocks="layers", **PARTS, forward=lambda ids: model(ids, ids))
    plain = snapshot(Model(), IDS, TARGETS, anatomy=generic(Model(), blocks="layers", **PARTS))
    assert torch.equal(snapshot(model, IDS, TARGETS, anatomy=anatomy).resid[6], plain.resid[6])


@pytest.mark.parametrize(
    ("form", "names", "message"),
    [
        ("pre", {"blocks": "layer"}, "Model has no module 'layer': Model has embed, head, layers"),
        ("pre", {"blocks": "head"}, "blocks=head: must name a ModuleList or Sequential of Model"),
        ("pre", PARTS | {"mlp": "ffn"}, "has no module 'ffn': Block has attn, norm1, norm2, mlp"),
        ("pre", {"attn": "attn"}, "attn='attn', mlp='': name both, or neither"),
        ("pre", {"atn": "attn"}, "atn: no such part; allowed are blocks, attn, mlp, "),
        ("pre", PARTS | {"norm_first": False, "attn_norm": ""}, "norm_first=False needs attn_norm"),
        ("pre", PARTS | {"attn_norm": ""}, "attn does not read x; name its norm with attn_norm"),
        ("pre", PARTS | {"parallel": True}, "block 0 of Model: mlp does not read x"),
        ("post", PARTS, "block 0 of Model: attn does not read x.*see norm_first"),
        ("half", PARTS, "block 0 of Model: y is not x plus what the named modules give"),
    ],
)
def test_wrong_names_are_told_in_one_line(form, names, message):
    model = Model(form)
    with pytest.raises(ValueError, match=message) as told:
        snapshot(model, IDS, TARGETS, anatomy=generic(model, **{"blocks": "layers"} | names))
    assert "\n" not in str(told.value)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_block_that_stands_twice_is_refused():
    model = Model()
    model.layers.append(model.layers[0])
    with pytest.raises(ValueError, match="a block stands in it twice"):
        generic(model, blocks="layers")
