"""Weights of a wiring that computes or decays something else than when they were made."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from reslab.residual import WIRINGS, PreNorm
from reslab.run.fields import flat
from reslab.training.grid import _check_same
from reslab.training.load import load
from reslab.training.loop import train
from reslab.training.same_wiring import other_version


def test_weights_of_a_wiring_that_computes_something_else_today_are_refused(train_config, monkeypatch):
    """Resumed, sampled, started from and kept in a grid; a run from before versions were recorded had 1."""
    config = train_config(residual="rezero", max_iters=2, warmup_iters=0, probes=False)
    assert train(config) == 0
    load(config.out_dir)
    monkeypatch.setattr(WIRINGS["rezero"], "version", 3)
    said = "made with version 2 of the wiring rezero, and version 3, of today, computes something else"
    with pytest.raises(ValueError, match=said):
        train(replace(config, resume=True, optim=replace(config.optim, max_iters=4)))
    with pytest.raises(ValueError, match=said):
        load(config.out_dir)
    with pytest.raises(ValueError, match=f"{said}.* in another --out_dir"):
        _check_same(Path(config.out_dir), flat(config))
    monkeypatch.undo()
    state = Path(config.out_dir) / "checkpoint" / "last" / "state.json"
    kept = json.loads(state.read_text(encoding="utf-8"))
    assert kept.pop("wirings") == {"rezero": 2}
    assert "made with version 1" in other_version(kept["config"], {})
    assert other_version(kept["config"] | {"residual": "pre"}, {}) is None
    assert other_version(kept["config"] | {"residual": "mine"}, {}) is None


def test_a_run_whose_weights_were_decayed_by_another_rule_is_told_how_to_go_on(train_config, monkeypatch):
    """The optimizer's state is kept by the order of the parameters, which depends on what is decayed."""
    monkeypatch.setattr(PreNorm, "decays", ("gain",))
    monkeypatch.setattr(PreNorm, "gain", property(lambda self: self.norm.weight), raising=False)
    config = train_config(max_iters=1)
    train(config)
    monkeypatch.undo()
    way = rf"use the commit that config.json names, or --init_from={config.out_dir}$"
    with pytest.raises(ValueError, match=f"last: today's code would decay other parameters, .*; {way}"):
        train(replace(config, resume=True, optim=replace(config.optim, max_iters=2)))
