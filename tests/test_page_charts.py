from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pages import HOSTILE, write_run
from toolkit.page import figures, svg
from toolkit.page.sources import read_sources


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 130, [0, 50, 100]), (-0.3, 0.61, [-0.2, 0, 0.2, 0.4, 0.6]), (2, 2, [2])],
)
def test_ticks_are_round_and_inside(low: float, high: float, wanted: list[float]) -> None:
    assert svg.ticks(low, high) == pytest.approx(wanted)


@pytest.mark.parametrize("high", [1e-7, 0.003, 7.0, 12345.0, 3e9])
def test_there_are_some_ticks_at_any_size(high: float) -> None:
    found = svg.ticks(0, high)
    assert 3 <= len(found) <= 7
    assert found[0] == 0
    assert found[-1] <= high * 1.0001


def test_a_scale_maps_its_ends() -> None:
    scale = svg.Scale(0, 10, 100, 20)
    assert [scale(0), scale(5), scale(10)] == [100, 60, 20]
    assert svg.Scale(3, 3, 0, 10)(3) == 5


def test_a_chart_shows_its_points_where_they_are() -> None:
    chart = svg.line_chart([svg.Series("loss", ((1, 0.0), (2, 2.0)), dots=True)], "the loss")
    assert f'd="M{svg.LEFT}.0 {svg.HEIGHT - svg.BOTTOM}.0L{svg.WIDTH - svg.RIGHT}.0 {svg.TOP}.0"' in chart
    assert "<title>loss: 2</title>" in chart


def test_names_in_a_chart_are_text() -> None:
    chart = svg.line_chart([svg.Series(HOSTILE, ((1, 1.0),))], HOSTILE)
    assert "<script" not in chart
    assert "&lt;script&gt;" in chart
    assert "<img" not in svg.interval_cell(0, 0.1, 0.2, (-1, 1), 0, HOSTILE)


def test_a_forest_row_tells_its_side() -> None:
    intervals = ((0.1, 0.2, 0.3, 1), (-0.3, -0.2, -0.1, -1), (-0.1, 0, 0.1, 0))
    rows = [svg.interval_cell(low, middle, high, (-1, 1), side, "") for low, middle, high, side in intervals]
    for name, row in zip(("middle up", "middle down", "middle even"), rows, strict=True):
        assert name in row
    assert 'x="126.0"' in rows[2], "a difference of 0 is in the middle of the axis"


def test_a_long_log_is_averaged() -> None:
    assert figures.averaged([(0, 0.0), (1, 2.0), (2, 5.0)], 2) == [(0.5, 1.0), (2, 5.0)]
    rows = [{"step": step, "loss": 1.0} for step in range(1000)]
    (chart,) = figures.training({"sft": rows})
    assert chart.note == "Each point is the mean of 4 log entries."


def test_a_resumed_runs_repeated_steps_count_once() -> None:
    rows = [{"step": 1, "loss": 9.0}, {"step": 2, "loss": 9.0}, {"step": 1, "loss": 3.0}, {"step": 2, "eval_loss": 1.0}]
    (chart,) = figures.training({"sft": rows})
    assert [name for name, _ in chart.legend] == ["training, last 9", "validation, last 1"]
    assert "training from 3 to 9" in chart.svg


def test_held_out_evaluations_have_a_curve_of_their_own(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    held = [
        {"step": step, "exact": 0.1 * step, "format": 1.0, "truncated": 0.0, "train_reward": 9.0} for step in (0, 4)
    ]
    text = "".join(json.dumps(row) + "\n" for row in held)
    (run / "grpo" / "held_out.jsonl").write_text(text, encoding="utf-8")
    charts = {chart.title: chart for chart in figures.training(read_sources([run]).runs[0].logs)}
    assert charts["GRPO: held-out examples"].legend == (
        ("exact, last 40%", 1),
        ("well formed, last 100%", 2),
        ("cut, last 0%", 3),
    )
    assert "weighted sum from 0.2 to 0.8" in charts["GRPO: reward, summed and by part"].svg
    assert "SFT: held-out examples" not in charts


def test_empty_tables_and_charts() -> None:
    assert figures.training({}) == []
    assert svg.span([]) == (0.0, 1.0)
    assert ">+10</text>" in svg.interval_axis((-0.1, 0.1))
