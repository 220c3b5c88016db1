"""A silent block changes no logit, and what it is inserted into can be saved, loaded and generates."""

import pytest
import torch
from conftest import tiny_model
from foreign_models import IDS, PRE, TARGETS, blocks_of, make_foreign

from reslab.instruments.anatomy import generic
from reslab.instruments.snapshot import snapshot
from reslab.instruments.surgery import insert_silent

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("name", PRE)
def test_a_silent_block_changes_no_logit_and_can_learn(name, tmp_path):
    model = make_foreign(name)
    with torch.no_grad():
        before = model(IDS).logits
    insert_silent(model, 1)
    grown = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 4)
    with torch.no_grad():
        assert torch.equal(model(IDS).logits, before)
    seen = snapshot(model, IDS, TARGETS)
    assert seen.added(4).abs().max() == seen.added(5).abs().max() == 0 < seen.added(3).abs().max()
    silent = [n for n, p in model.named_parameters() for q in grown[2].parameters() if p is q]
    assert any(seen.gradients[n].abs().max() > 0 for n in silent)
    model.float().save_pretrained(tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")
    with torch.no_grad():
        assert torch.equal(again(IDS).logits, model(IDS).logits)
    texts = [m.generate(IDS[:1, :3], max_new_tokens=4, do_sample=False) for m in (model, again)]
    assert torch.equal(*texts)


def test_what_can_not_grow_says_so():
    with pytest.raises(ValueError, match="a norm stands on its skip"):
        insert_silent(make_foreign("opt post-norm"), 0)
    with pytest.raises(ValueError, match=r"after=3: must be a block, 0 to 2"):
        insert_silent(make_foreign("gpt2"), 3)
    with pytest.raises(ValueError, match="--init_from=RUN"):
        insert_silent(tiny_model(), 0)
    model = make_foreign("gpt2")
    with pytest.raises(ValueError, match="matrices must name o and w2"):
        insert_silent(generic(model, blocks="transformer.h"), 0)
    assert len(blocks_of(model)) == 3
