"""Where stacks begin to learn: neighbouring values, the one half-way, and the run that is trained for it;
and the best value, with further seeds."""

import json

import pytest

from experiments import best, bisect
from experiments.bisect import changed, families, halfway, middles
from experiments.tables import best_rate, edge, edges
from reslab.run.config import parse
from reslab.run.options import CompareConfig
from reslab.training.grid import plan

STUDY = """
dataset = "made/up"
n_layer, n_head, n_embd, block_size = 2, 1, 8, 8
optimizer = "muon"
study = {
    "silent": {"residual": ["silent"], "n_layer": [1]},
    "dose": {"residual": ["scaled"], "residual_scale": [0.1, 0.5, 0.9], "n_layer": [2, 3]},
}
"""


@pytest.fixture
def cells(tmp_path):
    path = tmp_path / "made.py"
    path.write_text(STUDY, encoding="utf-8")
    argv = [str(path), f"--out_dir={tmp_path / 'runs'}"]
    return plan(parse(CompareConfig, argv, leave_out=("study",)).config, argv[:1], argv[1:])


def test_edges_are_neighbours_of_which_one_ended_below_the_control():
    losses = {0.9: 2.0, 0.1: 3.5, 0.5: 3.0, 0.7: 2.5, 0.3: None}
    assert edges(losses, 3.0) == [(0.5, 0.7)]  # 0.5 is not below, and what diverged has not learned
    assert edges(losses | {1.0: 4.0}, 3.0) == [(0.5, 0.7), (0.9, 1.0)]
    assert edge(losses, 3.0) == "0.5 to 0.7"
    assert edge({0.1: 2.0}, 3.0) == "always" and edge({0.1: None}, 3.0) == "never"


def test_half_way_is_a_mean_or_a_ratio():
    assert halfway(0.5, 0.9, ratio=False) == 0.7
    assert halfway(0.001, 0.1, ratio=True) == 0.01


def test_a_family_differs_in_the_setting_alone_and_the_control_is_in_none(cells):
    found = families(cells, "residual_scale")
    assert [sorted(family) for family in found.values()] == [[0.1, 0.5, 0.9]] * 2
    for family in found.values():
        assert len({cell.config.model.n_layer for cell in family.values()}) == 1


def test_what_is_changed_is_the_same_run_with_another_value_and_place(cells):
    old = next(cell for cell in cells if cell.values.get("residual_scale") == "0.5")
    new = changed(old, "residual_scale", 0.7)
    assert new.config.model.residual_scale == 0.7
    assert new.folder.name == old.folder.name.replace("0.5", "0.7") != old.folder.name
    assert f"--out_dir={new.folder}" in new.argv and f"--out_dir={old.folder}" not in new.argv


class Made:
    """A run that was never trained."""

    def __init__(self, loss, status="finished"):
        self.loss, self.status = loss, status

    def last(self, name):
        return self.loss


def test_the_best_value_is_chosen_by_the_training_loss_of_the_first_seed_and_trained_with_the_others(
    tmp_path, monkeypatch
):
    path, out = tmp_path / "made.py", tmp_path / "best.json"
    rates, seeds = '"muon_lr": [1e-3, 1e-1], "seed": [1]', '"muon_lr": [1e-2], "seed": [1, 2, 3]'
    path.write_text(
        STUDY.partition("study")[0]
        + f"out_dir = {str(tmp_path / 'runs')!r}\n"
        + 'study = {"silent": {"residual": ["silent"], "n_layer": [1], "seed": [1, 2]},\n'
        + '"scaled": {"residual": ["scaled"], "residual_scale": [0.5], "n_layer": [2]},\n'
        + '"plain": {"residual": ["none"], "n_layer": [2, 3], "muon_lr": [1e-3, 1e-2, 1e-1], "seed": [1]},\n'
        + f'"skips": {{"residual": ["pre"], {seeds}}}, "more": {{"residual": ["pre"], {rates}}}}}\n',
        encoding="utf-8",
    )
    asked = []

    def trained(cells, jobs):
        asked.append(cells)
        made = {}
        for cell in cells:
            layers, rate, seed = cell.config.model.n_layer, cell.config.optim.muon_lr, cell.config.seed
            loss = abs(rate - {2: 1e-3, 3: 1e-1}[layers]) if layers > 1 else 9.0
            loss = 5.0 if cell.config.model.residual == "pre" and rate != 1e-2 else loss
            lost = layers == 3 and rate == 1e-1 and seed == 1
            made[cell.folder] = Made(loss if seed == 1 else -1.0, "diverged" if lost else "finished")
        return made

    monkeypatch.setattr(best, "train", trained)
    monkeypatch.setattr(bisect, "train", trained)
    monkeypatch.setattr(best, "results", lambda runs, command: json.dumps([command, len(runs)]))
    best.main([str(path), "--setting=muon_lr", "--batch_size=3", f"--json={out}"])
    names = sorted(cell.folder.name for cell in asked[-1])
    plain = [f"plain-none-L{n}-muon_lr{r}-s{s}" for n, r in ((2, 0.001), (3, 0.01)) for s in (1, 2, 3)]
    assert names == plain + [f"skips-pre-muon_lr0.01-s{s}" for s in (1, 2, 3)]
    assert [cell.config.seed for cell in asked[-1]] == [1, 2, 3] * 3
    assert {cell.config.batch_size for cells in asked for cell in cells} == {3}  # a setting of all runs
    told = f"python -m experiments.best {path} --batch_size=3 --setting=muon_lr"
    assert json.loads(out.read_text("utf-8")) == [told, 3 + 9]  # two of the control, one that has no rate


def test_half_way_between_rates_is_their_ratio_and_the_control_is_the_mean_of_its_seeds(tmp_path):
    path = tmp_path / "made.py"
    study = """study = {
    "silent": {"residual": ["silent"], "n_layer": [1], "seed": [1, 2]},
    "rates": {"residual": ["pre"], "muon_lr": [1e-3, 1e-1]},
}"""
    path.write_text(STUDY.partition("study")[0] + study, encoding="utf-8")
    argv = [str(path), f"--out_dir={tmp_path / 'runs'}"]
    cells = plan(parse(CompareConfig, argv, leave_out=("study",)).config, argv[:1], argv[1:])
    losses = dict(zip((cell.folder for cell in cells), (3.0, 4.0, 3.4, 3.6), strict=True))
    (new,) = middles(cells, {folder: Made(loss) for folder, loss in losses.items()}, "muon_lr")
    assert new.config.optim.muon_lr == pytest.approx(1e-2)


def test_a_rate_at_which_a_seed_diverged_is_not_the_best():
    runs = [
        {"lr": rate, "status": "finished" if loss else "diverged", "train/loss": loss, "val/loss": loss}
        for rate, loss in ((0.1, 2.0), (0.1, None), (0.01, 2.5), (0.01, 2.7))
    ]
    assert best_rate(runs, "lr") == (0.01, runs[2:])


def test_each_step_halves_the_intervals_in_which_stacks_begin_to_learn(cells, tmp_path, monkeypatch):
    """Stacks of 2 and 3 layers that begin to learn at 0.6 and 0.8, and never train anything here."""

    def trained(asked, jobs):
        losses = {}
        for cell in asked:
            begins = {2: 0.6, 3: 0.8}.get(cell.config.model.n_layer, 0)
            learns = cell.config.model.residual_scale >= begins
            losses[cell.folder] = 3.0 if cell.config.model.residual == "silent" else 2.0 if learns else 3.1
        made = {folder: Made(loss) for folder, loss in losses.items()}
        # One that diverged has not learned, though its last evaluation was below the control.
        lost = next(cell.folder for cell in asked if cell.config.model.residual_scale == 0.1)
        return made | {lost: Made(1.0, "diverged")}

    seen = []
    monkeypatch.setattr(bisect, "train", lambda asked, jobs: seen.append(list(asked)) or trained(asked, jobs))
    monkeypatch.setattr(bisect, "results", lambda runs, command: json.dumps([command, len(runs)]))
    out = tmp_path / "edges.json"
    path = str(tmp_path / "made.py")
    bisect.main([path, "--setting=residual_scale", "--steps=2", f"--json={out}"])
    tried = {
        n: sorted(c.config.model.residual_scale for c in seen[-1] if c.config.model.n_layer == n)
        for n in (2, 3)
    }
    assert tried == {2: [0.1, 0.5, 0.6, 0.7, 0.9], 3: [0.1, 0.5, 0.7, 0.8, 0.9]}
    told = f"python -m experiments.bisect {path} --setting=residual_scale"
    assert json.loads(out.read_text("utf-8")) == [f"{told} --steps=2", 11]
    bisect.main([path, "--setting=residual_scale", f"--json={out}"])
    assert json.loads(out.read_text("utf-8"))[0] == told
