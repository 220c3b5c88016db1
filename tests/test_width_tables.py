"""The table of the widths at other rates, from results that are written by hand."""

from test_tables import made, result, run


def test_a_thousand_layers_recipe_at_other_rates_is_a_row_for_each_and_a_column_for_each_corpus():
    shape = [
        (name, n, rate, width)
        for name in ("depth_mup", "none")
        for n in (4, 9)
        for rate in (0.5, 1.0)
        for width in (8, 16)
    ]
    corpora = []
    for more in (0.0, 0.25):
        runs = [
            run(
                val=n / 4 + rate + width / 16 + more + (name == "none"),
                residual=name,
                n_layer=n,
                muon_lr=rate,
                n_embd=width,
            )
            for name, n, rate, width in shape
        ]
        corpora.append(result(*runs))
    rows, _note = made("widths_rates", *corpora)
    wide = ["8 wide", "16 wide"]
    assert rows[0] == ["", "layers", "rate", *wide, *(f"Shakespeare, {words}" for words in wide)]
    assert rows[1] == ["with skips (`depth_mup`)", "4", "0.5", "2.000", "2.500", "2.250", "2.750"]
    assert rows[-1][1:] == ["9", "1", "4.750", "5.250", "5.000", "5.500"] and len(rows) == 9
