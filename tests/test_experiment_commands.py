"""experiments/run.py: what stands under "Commands" is what is run, in order, up to the first that fails."""

import sys

import pytest
from conftest import ROOT

from experiments import run
from reslab.run.children import Children
from reslab.run.config import run_door

PAGES = sorted(ROOT.glob("experiments/*/README.md"))


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Writes experiments/NAME/README.md of a repository of its own."""
    monkeypatch.setattr(run, "HERE", tmp_path / "experiments")
    monkeypatch.setattr(run, "ROOT", tmp_path)

    def write(name: str, commands: str) -> None:
        (tmp_path / "experiments" / name).mkdir(parents=True)
        text = f"# A\n\n```\npython other.py\n```\n\n## Commands\n\n{commands}\n## Config\n\n```\nnone\n```\n"
        (tmp_path / "experiments" / name / "README.md").write_text(text, encoding="utf-8")

    return write


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.parent.name)
def test_every_command_of_every_page_is_a_program_that_is_there(path):
    lines = run.commands(path)
    assert lines
    for line in lines:
        _, words = run.as_words(line)
        assert words[0] == sys.executable, line
        words = words[3:] if words[1:3] == ["-m", "torch.distributed.run"] else words
        if words[1] == "-m":
            place = ROOT / words[2].replace(".", "/")
            assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), line
        else:
            assert any((ROOT / word).is_file() for word in words if word.endswith(".py")), line
        for word in words[2:]:
            assert not word.startswith("config/") or (ROOT / word).is_file(), line


def test_commands_run_in_order_with_their_environment_and_files_until_one_fails(page, tmp_path, capfd):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.txt").touch()
    say = "import os, sys; print(os.environ.get('SAID'), *sys.argv[1:])"
    page(
        "one",
        f'```\nSAID=this python -c "{say}" \\\n    */run.txt "n_layer>=2" no*thing\n```\n\nThen:\n\n'
        '```sh\n# a word\n\npython -c "raise SystemExit(3)"  # fails\npython -c "print(4)"\n```\n',
    )
    with Children() as children:
        assert run.run_all(run.commands(tmp_path / "experiments" / "one" / "README.md"), children) == 3
    out = capfd.readouterr().out
    assert "this a/run.txt b/run.txt n_layer>=2 no*thing" in out
    assert "[2/3]" in out and "[3/3]" not in out and "other.py" not in out


def test_what_is_no_experiment_is_refused_and_a_list_runs_nothing(page, monkeypatch, capfd):
    page("one", "```\npython -c \"print('it ran')\"\n```\n")

    def call(*argv) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["run", *argv])
        with pytest.raises(SystemExit) as end:
            run_door(run.main)
        return end.value.code or 0, *capfd.readouterr()

    code, _, error = call("on")
    assert code == 2 and error == "error: on: no such experiment; there are one; did you mean one?\n"
    assert call("one", "--list") == (0, "python -c \"print('it ran')\"\n", "")
    code, out, _ = call("one")
    assert code == 0 and out.endswith("it ran\n")
