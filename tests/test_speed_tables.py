"""The tables of docs/speed.md from a bench result that is written by hand, number by number."""

from test_tables import made

FACTS = {"date": "2026-01-02T03", "cpu": "a cpu", "threads": 2, "cpu_bfloat16": ["amx"], "torch": "2"}


def sides(**seconds: float) -> dict:
    return {name.replace("_", " "): {"median_s": value} for name, value in seconds.items()}


def test_a_case_beside_nanogpt_is_a_ratio_to_its_plain_and_its_fastest():
    by_name = sides(ours=0.5, nanogpt_float32=1.0, nanogpt_bfloat16=0.75, nanogpt_compiled_float32=0.8)
    ratios = {f"ours against {name}": {"median": 10 * t["median_s"]} for name, t in by_name.items()}
    names = ("step-4L128", "step-6L384", "step-48L128", "sample-1", "sample-8")
    cases = {name: {"facts": FACTS, "sides": by_name, "ratios": ratios} for name in names}
    val = {"nanogpt": {"s": 90.0, "val_loss": 1.9}}
    val |= {f"ours seed {k}": {"s": s, "val_loss": 1.5 + k / 10} for k, s in enumerate((20.0, 30.0, 70.0))}
    cases["val"] = {"facts": FACTS | {"date": "2026-02-02"}, "sides": val}
    rows, note = made("beside", {"cases": cases})
    assert rows[1] == ["`step-4L128`", "500 ms", "1,000 ms", "10.00x", "8.00x", "7.50x (bfloat16)"]
    assert len(rows) == 7 and rows[-1] == ["`val`, all training", "40.0 s", "90.0 s", "2.25x", "", ""]
    assert "nanoGPT ends at 1.900, this project, three seeds, at 1.500, 1.600, 1.700." in note
    assert "2026-01-02, 2026-02-02, a cpu, 2 threads, amx, torch 2" in note


def test_scaling_is_what_the_cases_measured():
    speeds = (("bpe:1024", 8.0), ("char", 16.0), ("byte", 32.0))
    cases = {
        "none-pre": {"none_over_pre": {"fresh": 0.75, "after 300 steps": 1.5}},
        "first-step": {
            "compiled_by_depth": {"12": {"median_s": 4.0}, "96": {"median_s": 9.0}},
            "sides": sides(ours=2.0, nanogpt=3.0),
        },
        "depth": {
            "plain": {"bytes": {"per_layer": 3e6}, "seconds": {"per_layer": 0.002}},
            "state_bytes_per_layer": 1e6,
            "memory_slope_ratio": 0.5,
            "without_the_state": 0.25,
        },
        "data": {
            name: {"bare_MB_per_s": b, "written_MB_per_s_1_core": b / 2, "written_MB_per_s_2_cores": b / 4}
            for name, b in speeds
        },
        "checkpoint": {"MB": 120.4, "save_s": 0.25},
        "probe": {"share_of_run": 0.035},
    }
    rows, _ = made("scaling", {"cases": {name: case | {"facts": FACTS} for name, case in cases.items()}})
    assert [row[1] for row in rows[1:]] == [
        *("0.75", "1.50", "2.0 s (nanoGPT 3.0 s)", "4.0 s, 9.0 s"),
        "3.00 MB, of which 1.00 are weights, gradients and AdamW's averages",
        *("50% of that; of the activations 25%", "2.0 ms"),
        *("8.0, 4.0, 2.0 MB/s", "16.0, 8.0, 4.0 MB/s", "32.0, 16.0, 8.0 MB/s"),
        *("120 MB in 0.25 s", "3.5%"),
    ]


def test_kernels_are_a_row_for_each_shape_and_way():
    case = {
        "facts": FACTS,
        "matrix products, GFLOP/s": {"(1, 2) x (2, 3)": {"float32": 50.4, "bfloat16": 99.6}},
        "attention forward + backward, ms": {
            "B1 float32": {"torch's": 1.0, "products": 2.0},
            "B1 bfloat16": {"torch's": 3.0, "products": 4.0},
        },
        "GELU forward + backward, ms": {"(7) float32": {"exact": 5.0}, "(7) bfloat16": {"exact": 6.0}},
        "optimizer step, ms": {
            "4 layers": {"AdamW": 7.0, "Muon": 8.0},
            "48 layers": {"AdamW": 9.0, "Muon": 9.5},
        },
    }
    rows, _ = made("kernels", {"cases": {"kernels": case}})
    assert rows[1:] == [
        ["product (1, 2) x (2, 3)", "GFLOP/s", "50", "100"],
        ["attention B1, torch kernel", "ms", "1.0", "3.0"],
        ["attention B1, products", "ms", "2.0", "4.0"],
        ["GELU (7), exact", "ms", "5.0", "6.0"],
    ]
    rows, _ = made("optimizers", {"cases": {"kernels": case}})
    assert rows == [
        ["optimizer step, ms", "4 layers", "48 layers"],
        ["AdamW", "7.0", "9.0"],
        ["Muon", "8.0", "9.5"],
    ]
