"""Names that are wrong, and batches that don't fit: one line, and no number."""

import pytest
import torch
from conftest import tiny_model
from test_generic import IDS, PARTS, TARGETS, Model
from torch import nn

from reslab.instruments import dissection
from reslab.instruments.anatomy import anatomy_of, generic
from reslab.instruments.probes import measure_batch
from reslab.instruments.snapshot import snapshot

ENTRIES = {
    "snapshot": lambda a: snapshot(a.model, IDS, TARGETS, anatomy=a),
    "lesions": lambda a: dissection.lesions(a, IDS, TARGETS, draws=1),
    "paths": lambda a: dissection.path_lengths(a, IDS, TARGETS),
    "influence": lambda a: dissection.block_influence(a, IDS, TARGETS),
    "perturbation": lambda a: dissection.perturbation(a, IDS),
    "jacobians": lambda a: dissection.jacobians(a, IDS[:1, :2]),
}


def run_stripped(anatomy):
    with anatomy.stripped():
        return anatomy.model(IDS)


def run_cut(anatomy):
    with anatomy.without([1]):
        return anatomy.logits(IDS)


ENTRIES |= {"stripped": run_stripped, "cut": run_cut}
SWAPPED = PARTS | {"attn_norm": "norm2", "mlp_norm": "norm1"}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    ("form", "names", "message"),
    [
        ("pre", SWAPPED, "does not read x|not called"),
        ("half", PARTS, "y is not x plus what the named modules give"),
        ("pre", PARTS | {"norm_first": False}, "not post-norm|a norm stands on its skip"),
        ("one norm", PARTS, "are not called in the forward pass"),
        ("pre", PARTS | {"mlp": "mlp.0"}, r"its mlp as named gives \(\d, \d, 32\), and the stream is"),
    ],
)
def test_wrong_names_give_no_number_anywhere(entry, form, names, message):
    model = Model(form)
    with pytest.raises(ValueError, match=message):
        ENTRIES[entry](generic(model, blocks="layers", **names))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("entry", ENTRIES)
def test_right_names_are_taken_by_each_entry_first(entry):
    fresh, anatomy = generic(Model(), blocks="layers", **PARTS), generic(Model(), blocks="layers", **PARTS)
    anatomy.logits(IDS)
    first, later = ENTRIES[entry](fresh), ENTRIES[entry](anatomy)
    assert entry == "snapshot" or (torch.equal(first, later) if torch.is_tensor(first) else first == later)


def test_stripped_needs_names_and_does_not_nest():
    model = Model()
    with (
        pytest.raises(ValueError, match="not named; give attn, mlp, attn_norm"),
        generic(model, blocks="layers").stripped(),
    ):
        pass
    gpt = tiny_model()
    own = generic(model, blocks="layers", **PARTS)
    for module, anatomy in ((model, own), (gpt, anatomy_of(gpt))):
        with anatomy.stripped():
            expected = module(IDS)
            with pytest.raises(ValueError, match="does not nest"), anatomy.stripped():
                pass
            assert torch.equal(module(IDS), expected)
        with anatomy.stripped():
            assert torch.equal(module(IDS), expected)


def test_stripped_with_dropout_needs_eval_mode():
    model = Model()
    for block in model.layers:
        block.mlp.append(nn.Dropout(0.5))
    anatomy = generic(model, blocks="layers", **PARTS)
    with pytest.raises(ValueError, match=r"dropout.*call model.eval\(\)"), anatomy.stripped():
        pass
    model.eval()
    with anatomy.stripped():
        model(IDS)


def test_one_sequence_has_no_standard_error(recwarn):
    report = dissection.lesions(generic(Model(), blocks="layers", **PARTS), IDS[:1], TARGETS[:1], draws=2)
    assert report["loss"]["se"] is None and report["block"][0]["se"] is None and not recwarn.list


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        ({"q": "attn.v"}, "matrices has q; allowed are qk, v, o, w1, w2"),
        ({"v": "attn.q"}, "matrices: v names attn.q, which is no matrix of Block .*allowed are qk, v"),
        ({"v": "attn.v.bias"}, "v names attn.v.bias, which is no matrix"),
        ({"v": 3}, "v names 3"),
        ("attn.v", "matrices='attn.v': must be a dict"),
    ],
)
def test_wrong_matrices_are_told(matrices, message):
    with pytest.raises(ValueError, match=message):
        generic(Model(), blocks="layers", **PARTS, matrices=matrices)


def test_a_matrix_is_named_whole_in_parts_or_as_a_parameter():
    def take(w):
        return w[:3]

    forms = ["attn.v", ("attn.v",), "attn.v.weight"], [("attn.v", take), (("attn.v", take),)]
    for same in forms:
        found = []
        for v in same:
            anatomy = generic(Model(), blocks="layers", **PARTS, matrices={"v": v})
            found.append(measure_batch(anatomy.model, IDS, TARGETS, anatomy)["probe/v_gradient"])
        assert all(row == found[0] for row in found) and min(found[0]) > 0


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (IDS[0], TARGETS[0], r"inputs are \(6,\): must be token ids \(B, T\)"),
        (IDS, TARGETS[:, :5], r"targets are \(4, 5\), and inputs \(4, 6\)"),
        (IDS.double(), TARGETS, "inputs are torch.float64: must be token ids"),
        (IDS + 1000, TARGETS, r"inputs hold token id 1\d\d\d, and the vocabulary of GPT has"),
        (IDS - 100, TARGETS, "inputs hold token id -"),
        (IDS, TARGETS + 1000, "targets hold token id 1"),
        (IDS.repeat(1, 50), TARGETS.repeat(1, 50), "300 tokens in a sequence, and GPT takes at most"),
    ],
)
def test_a_batch_that_does_not_fit_is_told_in_one_line(inputs, targets, message):
    for measure in (measure_batch, snapshot):
        with pytest.raises(ValueError, match=message):
            measure(tiny_model(), inputs, targets)


def test_ids_beyond_an_embedding_and_a_name_for_a_model_are_told():
    anatomy = generic(Model(), blocks="layers", **PARTS)
    with pytest.raises(ValueError, match="Model can't take token ids up to 118: "):
        measure_batch(anatomy.model, IDS * 0 + 118, TARGETS, anatomy)
    with pytest.raises(ValueError, match="'gpt2' is a str and no model; "):
        measure_batch("gpt2", IDS, TARGETS)
