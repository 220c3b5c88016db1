"""What bench.py measures of whole programs: real calls of short ones, and what a failing one says."""

import subprocess
import sys

import pytest
from made_up_sides import Machine, made_up

from benchmarks import cases, programs


def test_what_is_added_is_a_step_with_it_over_one_without_at_each_shape():
    def seconds(side, task, settings, arguments):
        if task != "steps":
            return {"bytes": 1}
        once = 1.0 + (settings["pos"] == "rope") / 4 + 2 * (settings["optimizer"] == "muon")
        return {"s": arguments["count"] * once * settings["n_layer"]}

    case = cases.added_to_a_step(made_up(Machine(seconds)))
    over = case["over_plain"]
    assert "failed" not in case
    medians = {
        shape: {kind: ratio["median"] for kind, ratio in kinds.items()} for shape, kinds in over.items()
    }
    assert list(medians) == ["4 layers, width 128", "24 layers, width 64"]
    assert all(told == {"rotary positions": 1.25, "Muon": 3.0} for told in medians.values())


def test_what_can_not_be_added_here_is_left_out_with_its_reason():
    def seconds(side, task, settings, arguments):
        if settings["optimizer"] == "muon":
            raise ValueError("no room")
        return {"s": arguments.get("count", 1), "bytes": 1}

    machine = Machine(seconds)
    case = cases.added_to_a_step(made_up(machine, gpu=True))
    assert all(list(kinds) == ["rotary positions"] for kinds in case["over_plain"].values())
    assert case["failed"] == {"Muon": "no room"}
    warm = [arguments["count"] for _, task, _, arguments, _ in machine.calls if task == "steps"]
    assert warm[0] == cases.CAPTURED  # updates are recorded by then


def test_programs_stand_beside_the_import_of_torch(monkeypatch):
    called = []

    def call(argv, code=0, **_):
        called.append((argv, code))
        return 2.0 if argv is programs.TORCH else 3.0 if argv[0] == "sample.py" else 0.5

    monkeypatch.setattr(programs, "_call", call)
    case = programs.programs(made_up(Machine(None), quick=True))
    token = "sample.py, to the first new token"
    assert case["import_torch"]["median_s"] == 2.0 and case["seconds"][token]["median_s"] == 3.0
    assert case["over_import_torch"][token]["median"] == 1.5
    assert {code for argv, code in called if argv[-1].startswith("--learning_rat=")} == {2}
    (run,) = {argv[1] for argv, _ in called if argv[0] == "sample.py"}
    assert called[0][0][-1] == f"--out_dir={run}"  # what is sampled from was made before


def test_a_program_that_ends_with_another_code_is_an_error_in_its_own_words():
    assert programs._call([sys.executable, "-c", ""]) > 0
    with pytest.raises(ValueError, match=r"train\.py --no_such=1: exit code 2, it said: .*no_such"):
        programs._call(["train.py", "--no_such=1"])
    with pytest.raises(ValueError, match="exit code 0, it said: fine"):
        programs._call([sys.executable, "-c", "print('fine')"], code=3)


def test_the_demo_is_made_in_a_copy_without_what_was_made_before(tmp_path, monkeypatch):
    root, seen = tmp_path / "root", []
    for name in (
        "Makefile",
        "data/stdlib/prepare.py",
        "data/stdlib/train.bin",
        "runs/old",
        ".venv/installed",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("", encoding="utf-8")

    def made(command, cwd, env, **_):
        if "-q" in command:
            return subprocess.CompletedProcess(command, 0, "", "")
        seen.extend(sorted(f"{path.relative_to(cwd)}" for path in cwd.rglob("*") if path.is_file()))
        (cwd / "runs").mkdir()
        (cwd / "runs" / "laptop.html").write_text("page", encoding="utf-8")
        assert command[:2] == ["make", "demo"] and not env["RESLAB_DATA"]
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(programs, "ROOT", root)
    monkeypatch.setattr(programs.subprocess, "run", made)
    assert programs.demo(made_up(Machine(None)))["page_bytes"] == 4
    assert (
        {"Makefile", "data/stdlib/prepare.py"}
        <= set(seen)
        <= {"Makefile", "data/stdlib/prepare.py", ".venv/installed"}
    )
    (root / ".venv" / "installed").unlink()
    monkeypatch.undo()
    monkeypatch.setattr(programs, "ROOT", root)
    for place in ("", f"{tmp_path}"):  # nothing is installed; there is no make
        if place:
            monkeypatch.setenv("PATH", place)
        reason = programs.demo(made_up(Machine(None)))["failed"]["demo"]
        assert "make setup" in reason and "\n" not in reason
