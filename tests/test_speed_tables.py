"""The tables of docs/speed.md from bench results that are written by hand, number by number."""

from test_tables import made

from experiments.speed.table import _when

FACTS = {"date": "2026-01-02T03", "cpu": "a cpu", "threads": 2, "cpu_bfloat16": ["amx"], "torch": "2"}
FACTS |= {"command": "python bench.py --peer nanogpt=PATH --only val,data --out=x/y.json"}


def sides(**seconds: float) -> dict:
    return {name.replace("_", " "): {"median_s": s, "spread": s / 10} for name, s in seconds.items()}


def ratio(median: float, noisy: bool = False) -> dict:
    return {"median": median, "least": median - 0.5, "most": median + 1, "noisy": noisy}


def beside_others(*noisy: str, share: float = 0.75) -> dict:
    """A case whose ratios are 10 times the seconds of the other sides; those of some are noisy."""
    by_name = sides(ours=0.5, ours_float32=0.9, nanogpt_float32=1.0, nanogpt_bfloat16=0.75, limit=0.25)
    by_name |= sides(transformers_float32=2.0, transformers_bfloat16=3.0)
    ratios = {f"ours against {name}": ratio(10 * t["median_s"]) for name, t in by_name.items()}
    ratios["ours against limit"] = ratio(share)
    for name in noisy:
        ratios[f"ours against {name}"]["noisy"] = True
    return {"facts": FACTS, "sides": by_name, "ratios": ratios}


def test_a_case_beside_others_is_a_ratio_to_the_plain_and_the_fastest_of_each():
    case = beside_others("nanogpt bfloat16")
    older = {"facts": FACTS, "sides": sides(ours=0.5), "ratios": {}}
    rows, note = made("beside", {"cases": {"step-4L128": case, "sample-8": older}})
    assert rows == [
        ["case", "", "a cpu, 2 threads, amx"],
        ["`step-4L128`", "time here", "500 ms ± 5%"],
        ["`step-4L128`", "here in float32", "9.00x (8.50 to 10.00)"],
        ["`step-4L128`", "nanoGPT, float32", "10.00x (9.50 to 11.00)"],
        ["`step-4L128`", "nanoGPT, its fastest", "noisy (7.00 to 8.50), bfloat16"],
        ["`step-4L128`", "transformers, float32", "20.00x (19.50 to 21.00)"],
        ["`step-4L128`", "transformers, its fastest", "20.00x (19.50 to 21.00), float32"],
        ["`step-4L128`", "limit, share of ours", "75% (25% to 175%)"],
        ["`sample-8`", "time here", "500 ms ± 5%"],
    ]
    assert note == "a cpu, 2 threads, amx: `python bench.py --peer nanogpt=PATH`, 2026-01-02, torch 2"


def test_each_machine_with_a_case_of_a_table_has_a_column_in_it():
    """One without a card, one that measured a probe alone, and one with a card that was busy."""
    alone = {"facts": FACTS, "sides": sides(ours=0.5), "ratios": {}}
    on_gpu = FACTS | {"cpu": "a host", "gpu": "a card", "date": "2026-03-04", "torch": "3"}
    busy = beside_others("ours float32", "limit", share=0.5) | {"facts": on_gpu}
    probe = {"facts": FACTS, "share_of_run": 0.035, "largest_spread": 0.12}
    first = {"cases": {"step-4L128": alone, "sample-1": alone}}
    results = first, {"cases": {"probe": probe}}, {"cases": {"gpt2": busy, "step-4L128": busy}}
    rows, note = made("beside", *results)
    assert rows[0] == ["case", "", "a cpu, 2 threads, amx", "a card"]
    cells = {tuple(row[:2]): row[2:] for row in rows[1:]}
    assert len(cells) == len(rows) - 1 == 7 + 7 + 1
    assert cells["`step-4L128`", "time here"] == ["500 ms ± 5%", "500 ms ± 5%"]
    assert cells["`step-4L128`", "here in float32"] == ["", "noisy (8.50 to 10.00)"]
    assert cells["`gpt2`", "limit, share of ours"] == ["", "noisy (0% to 150%)"]
    assert cells["`sample-1`", "time here"] == ["500 ms ± 5%", ""]
    parts = [row[0] for row in rows[1:]]
    assert sorted(parts, key=parts.index) == parts  # the rows of a case stand together
    assert note.endswith(
        "2026-01-02, torch 2; a card: `python bench.py --peer nanogpt=PATH`, 2026-03-04, torch 3"
    )
    rows, note = made("scaling", *results)
    assert rows == [["", "a cpu, 2 threads, amx"], ["probes, share of the demo", "3.5% ± 12%"]]
    assert "a card" not in note
    assert made("growth", *results) == ([], "Not measured yet.")
    assert len(made("beside", first, first)[0][0]) == 4  # two results of one name


def test_all_training_is_the_mean_over_seeds_and_its_losses():
    val = {"nanogpt": {"s": 90.0, "val_loss": 1.9}}
    val |= {f"ours seed {k}": {"s": s, "val_loss": 1.5 + k / 10} for k, s in enumerate((20.0, 30.0, 70.0))}
    step = {"facts": FACTS, "sides": sides(ours=0.5), "ratios": {}}
    cases = {"step-4L128": step, "val": {"facts": FACTS | {"date": "2026-02-02"}, "sides": val}}
    rows, note = made("beside", {"cases": cases})
    assert rows[2:] == [
        ["`val`", "time here", "40.0 s (20.0 to 70.0)"],
        ["`val`", "loss here, by seed", "1.500, 1.600, 1.700"],
        ["`val`", "nanoGPT, float32", "2.25x (1.29 to 4.50)"],
        ["`val`", "nanoGPT, loss", "1.900"],
    ]
    assert "2026-01-02, 2026-02-02, torch 2" in note


def test_scaling_is_what_the_cases_measured():
    speeds = (("bpe:1024", 8.0), ("char", 16.0), ("byte", 32.0))
    cases = {
        "none-pre": {"none_over_pre": {"fresh": ratio(0.75), "after 300 steps": ratio(1.5)}},
        "added": {"over_plain": {"4 layers": {"Muon": ratio(1.25)}}},
        "first-step": {"compiled_by_depth": sides(a=4.0, b=9.0), "sides": sides(ours=2.0, nanogpt=3.0)},
        "programs": {
            "import_torch": sides(t=2.0)["t"],
            "seconds": sides(x=3.0),
            "over_import_torch": {"x": ratio(1.5)},
        },
        "demo": {"s": 99.6},
        "data": {
            name: {"bare_MB_per_s": b, "written_MB_per_s_1_core": b / 2, "written_MB_per_s_2_cores": b / 4}
            for name, b in speeds
        }
        | {"largest_spread": 0.05},
        "checkpoint": {"MB": 120.4, "save_s": 0.25, "largest_spread": 0.11},
        "probe": {"share_of_run": 0.035, "largest_spread": 0.12},
    }
    cases = {name: case | {"facts": FACTS} for name, case in cases.items()}
    rows, _ = made("scaling", {"cases": cases})
    assert [row[1] for row in rows[1:]] == [
        *("0.75x (0.25 to 1.75)", "1.50x (1.00 to 2.50)", "1.25x (0.75 to 2.25)"),
        *("2.0 s ± 20% (nanoGPT 3.0 s ± 30%)", "4.0 s ± 40%, 9.0 s ± 90%"),
        *("2.00 s ± 20%", "3.00 s ± 30%, 1.50x (1.00 to 2.50)", "100 s"),
        *("8.0, 4.0, 2.0 MB/s ± 5%", "16.0, 8.0, 4.0 MB/s ± 5%", "32.0, 16.0, 8.0 MB/s ± 5%"),
        *("120 MB in 0.25 s ± 11%", "3.5% ± 12%"),
    ]
    cases["first-step"] = {"sides": sides(ours=2.0), "facts": FACTS}  # quick, without a peer
    for name in ("added", "programs", "demo", "data"):
        del cases[name]
    rows, _ = made("scaling", {"cases": cases})
    assert [row[1] for row in rows[3:]] == ["2.0 s ± 20%", "120 MB in 0.25 s ± 11%", "3.5% ± 12%"]


def test_what_grows_has_its_values_its_line_and_the_residual():
    line = {"at_zero": 2.5e6, "slope": -5e4, "largest_residual": 0.125}
    seconds = {"values": [1.0, 2.0, 1234.0], "at_zero": 0.25, "slope": 0.125, "largest_residual": 0.02}
    case = {
        "facts": FACTS,
        "clock": "seconds of a clock",
        "depth": {"at": [1, 2, 4], "figures": {"step": seconds, "bytes": {"values": [1e6, 2e6, 4e9]} | line}},
        "runs": {"at": [2], "figures": {"page_bytes": {"values": [5.125e6]} | line}},
        "state_bytes_per_layer": 1e6,
        "memory_slope_ratio": 0.5,
        "without_the_state": 0.25,
    }
    rows, _ = made("growth", {"cases": {"growth": case}})
    assert rows[1:] == [
        ["a step, s", "1, 2, 4 layers", "1; 2; 1,234"],
        ["a step, s", "line, largest residual", "0.25 + 0.125 for each layer, 2%"],
        ["memory held at most, MB", "1, 2, 4 layers", "1; 2; 4,000"],
        ["memory held at most, MB", "line, largest residual", "2.5 - 0.05 for each layer, 12%"],
        ["size of the page, MB", "2 runs", "5.12"],
        ["size of the page, MB", "line, largest residual", "2.5 - 0.05 for each run, 12%"],
        ["a layer of 1024 tokens, width 64", "weights, gradients and AdamW's averages, MB", "1.00"],
        ["a layer with `--activation_checkpointing`", "share of all its memory", "50%"],
        ["a layer with `--activation_checkpointing`", "share of its activations", "25%"],
        ["all times", "clock", "seconds of a clock"],
    ]


def test_kernels_are_a_row_for_each_shape_and_way():
    case = {
        "facts": FACTS,
        "matrix products, GFLOP/s": {"(1, 2) x (2, 3)": {"float32": (50.4, 0.1), "bfloat16": (99.6, 0.1)}},
        "attention forward + backward, ms": {
            "B1 float32": {"torch's": (1.0, 0.1), "products": (2.0, 0.1)},
            "B1 bfloat16": {"torch's": (3.0, 0.1), "products": (4.0, 0.1)},
        },
        "GELU forward + backward, ms": {
            "(7) float32": {"exact": (5.0, 0.1)},
            "(7) bfloat16": {"exact": (6.0, 0.1)},
        },
        "optimizer step, ms": {
            "4 layers": {"AdamW": (7.0, 0.1), "Muon": (8.0, 0.1)},
            "48 layers": {"AdamW": (9.0, 0.1), "Muon": (9.5, 0.1)},
        },
    }
    rows, _ = made("kernels", {"cases": {"kernels": case}})
    assert rows[1:] == [
        ["product (1, 2) x (2, 3)", "float32, GFLOP/s", "50 ± 10%"],
        ["product (1, 2) x (2, 3)", "bfloat16, GFLOP/s", "100 ± 10%"],
        ["attention B1, torch kernel", "float32, ms", "1.0 ± 10%"],
        ["attention B1, torch kernel", "bfloat16, ms", "3.0 ± 10%"],
        ["attention B1, products", "float32, ms", "2.0 ± 10%"],
        ["attention B1, products", "bfloat16, ms", "4.0 ± 10%"],
        ["GELU (7), exact", "float32, ms", "5.0 ± 10%"],
        ["GELU (7), exact", "bfloat16, ms", "6.0 ± 10%"],
    ]
    rows, _ = made("optimizers", {"cases": {"kernels": case}})
    assert rows[1:] == [
        ["AdamW", "4 layers", "7.0 ± 10%"],
        ["AdamW", "48 layers", "9.0 ± 10%"],
        ["Muon", "4 layers", "8.0 ± 10%"],
        ["Muon", "48 layers", "9.5 ± 10%"],
    ]


def test_a_loss_is_reached_by_the_first_evaluation_that_is_no_higher():
    """(step, seconds, loss): at the very loss it is reached."""
    assert _when([(0, 1.0, 2.0), (10, 2.5, 1.5), (20, 4.0, 1.2)], 1.5) == "2.5"
