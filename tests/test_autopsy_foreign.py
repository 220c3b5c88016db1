"""autopsy.py on a folder of transformers: the same measurements, on a text, in the current folder."""

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest
import torch
from conftest import ROOT, run_python
from foreign_models import LETTERS, TEXT, save_foreign

import autopsy
from reslab.instruments import dissection, hub_model

transformers = pytest.importorskip("transformers")


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_of_transformers_is_measured_on_a_text(place, capsys):
    save_foreign("tiny")
    options = ["--text=text.txt", "--sequences=5", "--tokens=2", "--draws=1", "--json=short.json"]
    assert autopsy.main(["tiny", *options]) == 0
    shown = capsys.readouterr().out
    model, tokenizer = hub_model.load("tiny")
    x, y = hub_model.sequences(TEXT, tokenizer, 5, 16)
    assert "GPT2LMHeadModel, 3 blocks of width 32" in shown and "5 sequences of 16 tokens" in shown
    report = json.loads((place / "autopsy-tiny.json").read_text(encoding="utf-8"))
    assert report["lesions"] == dissection.lesions(model, x, y, draws=1)
    assert report["influence"] == dissection.block_influence(model, x[:4], y[:4])
    assert report["paths"]["error"] < 1e-9 and report["missing"] == {}
    short = json.loads((place / "short.json").read_text(encoding="utf-8"))
    assert short["command"] == "python autopsy.py tiny --text text.txt"
    assert all(line in shown for line in short["findings"])
    assert "Perturbation" in (place / "autopsy-tiny.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in (place / "tiny").iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_sequences_come_from_all_over_the_text_behind_its_opening_token(place):
    for opening in (False, True):
        save_foreign("tiny", opening=opening)
        tokenizer = hub_model.load("tiny")[1]
        x, y = hub_model.sequences(TEXT, tokenizer, 4, 16)
        begin, length = (1, 15) if opening else (0, 16)
        assert x.shape == y.shape == (4, 16) and torch.equal(x[:, 1:], y[:, :-1])
        assert not opening or set(x[:, 0].tolist()) == {len(LETTERS)}
        starts = torch.linspace(0, len(TEXT) - length - 1, 4).long().tolist()
        for row, target, start in zip(x, y, starts, strict=True):
            assert tokenizer.decode(row[begin:]) == TEXT[start : start + length]
            assert tokenizer.decode(target[-1:]) == TEXT[start + length]
    assert len(hub_model.sequences(TEXT[:40], tokenizer, 64, 1 << 30)[0]) == 2
    with pytest.raises(ValueError, match="text has 5 tokens; give at least 6"):
        hub_model.sequences(TEXT[:5], tokenizer, 64, 16)


def test_a_large_jacobian_is_left_out_and_said_to_be(place, monkeypatch, capsys):
    save_foreign("tiny", "llama")
    monkeypatch.setattr(autopsy, "JACOBIAN_ROWS", 63)
    options = ["--text=text.txt", "--sequences=2", "--tokens=2", "--draws=1"]
    assert autopsy.main(["tiny", *options]) == 0
    shown = capsys.readouterr().out
    assert "jacobians: n/a, tokens times width is 64, and at most 63 are taken apart" in shown


@pytest.mark.slow
def test_what_can_not_be_measured_is_one_line_with_exit_code_2(place):
    save_foreign("tiny")
    save_foreign("bloom", "gpt2")
    config = place / "bloom" / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"gpt2"', '"bloom"'), encoding="utf-8")
    (place / "empty").mkdir()
    (place / "bytes.txt").write_bytes(b"\xff\xfe\xff")
    (place / "short.txt").write_text("To", encoding="utf-8")
    save_foreign("torn")
    weights = place / "torn" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    for words, message in {
        ("tiny",): "a model of transformers is measured on a text of yours; give --text FILE",
        ("empty",): "empty: not a run directory",
        ("nowhere",): "for a model of the Hugging Face Hub give --text FILE too",
        ("empty", "--text=text.txt"): "empty is no model of transformers",
        ("tiny", "--text=nowhere.txt"): "text=nowhere.txt: can't be read (No such file",
        ("tiny", "--text=bytes.txt"): "text=bytes.txt: not UTF-8 text",
        ("tiny", "--text=short.txt"): "text has 2 tokens",
        ("tiny", "--text=text.txt", "--weights=last"): "weights=last: a run has this",
        ("bloom", "--text=text.txt"): "bloom: model_type=bloom: it is not known here; known are",
        ("torn", "--text=text.txt"): "torn: can't be loaded (",
    }.items():
        with pytest.raises(ValueError) as told:
            autopsy.main(list(words))
        assert message in str(told.value) and "\n" not in str(told.value), words
    done = run_python(ROOT / "autopsy.py", "bloom", "--text=text.txt", cwd=place, code=2)
    assert done.stderr.count("\n") == 1 and "generic(model, blocks=...)" in done.stderr


def test_a_path_that_is_not_there_is_no_such_folder(place):
    for name in ("./nothing", str(place / "nothing"), "a/b/c"):
        with pytest.raises(ValueError, match=r"nothing: no such folder$|a/b/c: no such folder$"):
            autopsy.main([name, "--text=text.txt"])


class Hub(BaseHTTPRequestHandler):
    """A Hub that has no model."""

    asked: ClassVar[list[str]] = []

    def do_HEAD(self):
        self.asked.append(self.path)
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("name", "answers", "said"),
    [
        ("my-modle", True, "my-modle: no such folder, and the Hugging Face Hub has no model of this name"),
        ("my-modle", False, "my-modle: no such folder, and the Hugging Face Hub can't be asked for it (["),
        (
            "my modle",
            False,
            "my modle: no such folder, and the Hugging Face Hub can't be asked for it (Repo id",
        ),
    ],
)
def test_a_mistyped_name_is_told_after_one_question(place, monkeypatch, name, answers, said):
    """transformers would ask, wait and ask again."""
    from huggingface_hub import constants

    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr(Hub, "asked", [])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        if answers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        else:
            server.server_close()  # whoever asks is turned away
        with pytest.raises(ValueError, match=re.escape(said)) as told:
            autopsy.main([name, "--text=text.txt"])
        if answers:
            server.shutdown()
    assert "\n" not in str(told.value) and waits == []
    assert Hub.asked == (["/my-modle/resolve/main/config.json"] if answers else [])


@pytest.mark.parametrize(("lost", "said"), [(1, r"c_attn.bias$"), (2, r"and 1 more$")])
def test_weights_that_are_missing_are_counted(place, lost, said):
    from safetensors.torch import load_file, save_file

    save_foreign("tiny")
    state = load_file("tiny/model.safetensors")
    for key in sorted(key for key in state if key.endswith("c_attn.bias"))[:lost]:
        del state[key]
    save_file(state, "tiny/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=said):
        autopsy.main(["tiny", "--text=text.txt"])
