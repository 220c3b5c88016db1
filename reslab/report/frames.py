"""Runs as pandas tables: frame(), which `reslab.frame` is. pandas is imported when it is called."""

import sys
from pathlib import Path

from reslab.report.groups import arm, folder_names, group_names
from reslab.report.records import curve_rows, flat_record, record
from reslab.report.selection import find_runs, load_runs


def frame(*places: str | Path, curves: bool = False, names: str = "", same_data: bool = False):
    """The runs at some places, or anywhere below them, as a pandas DataFrame.

    Args:
        places: run directories, folders of them, or foreign curves.
        curves: a row for each loss of each step: run, group, seed, split, kind, step, value. Else a row for
            each run: its path, group and arm, every setting under its own name, final losses (nats per
            token), its own baselines, hash of its data, torch, commit.
        names, same_data: of foreign curves, as --map and --same_data of compare.py.

    Raises:
        ImportError: pandas is missing.
        ValueError: no run is there.
    """
    try:
        import pandas
    except ImportError:
        raise ImportError("reslab.frame needs pandas; run: python -m pip install pandas") from None
    runs, left_out = load_runs(find_runs([str(place) for place in places]), names, same_data)
    for reason in left_out:
        print(f"left out: {reason}", file=sys.stderr, flush=True)
    if curves:
        columns, *rows = curve_rows(runs)
        return pandas.DataFrame(rows, columns=columns)
    rows = []
    for run, name, group in zip(runs, folder_names(runs), group_names(runs), strict=True):
        head = {"run": name, "path": str(run.folder), "group": group, "arm": arm(run.config)}
        numbers = flat_record(record(run))
        settings = {key: value for key, value in run.config.items() if key not in numbers}
        rows.append(head | settings | numbers)
    return pandas.DataFrame(rows)
