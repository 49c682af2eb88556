"""pytest plugin: model quality in an ordinary test suite.

    def test_model(model_gate):
        model_gate.check("gates.toml", baseline="baseline.json", run="runs/new/eval/tuned")

Only pytest is imported until a gate is checked. A path that `check` isn't given comes from the command line
(--model-gates, --model-baseline, --model-run), else from the ini keys model_gates, model_baseline, model_run.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from eval.gating.verdicts import Report

PATHS = {
    "gates": "the claims, gates.toml",
    "baseline": "a file of toolkit baseline write, or an evaluation directory",
    "run": "evaluation directory of the model in question",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, and an ini key for each path."""
    group = parser.getgroup("model gate", "reasoning-toolkit: hold a model's quality")
    for name, text in PATHS.items():
        group.addoption(f"--model-{name}", metavar="PATH", default=None, help=text)
        parser.addini(f"model_{name}", text, default="")
    group.addoption(
        "--model-inconclusive",
        choices=("fail", "skip"),
        default=None,
        help="what an inconclusive gate does to the test; default: what gates.toml says, else fail",
    )


class ModelGate:
    """The fixture's value."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def check(
        self,
        gates: str | Path | None = None,
        *,
        baseline: str | Path | None = None,
        run: str | Path | None = None,
    ) -> Report:
        """Judge a run; fail the test when a gate fails or can't be judged, fail or skip it when one is inconclusive.

        Relative paths start at the rootdir, for what the ini file says, else at the current directory.
        """
        __tracebackhide__ = True
        from eval.gating.reports import report_grid
        from eval.gating.verdicts import check
        from eval.tables import to_text
        from rewards.core import UserError

        paths = {name: self._path(name, given) for name, given in (("gates", gates), ("run", run))}
        for name, path in paths.items():
            if path is None:
                pytest.fail(f"model_gate: no {name}: pass {name}=…, --model-{name} or the ini key model_{name}", False)
        assert paths["gates"] is not None
        assert paths["run"] is not None
        try:
            report = check(paths["gates"], paths["run"], self._path("baseline", baseline))
        except UserError as error:
            pytest.fail(f"model_gate: {error}", pytrace=False)
        if report.outcome == "pass":
            return report
        text = to_text(report_grid(report)).rstrip()
        policy = self._config.getoption("--model-inconclusive") or report.rules.inconclusive
        if report.outcome == "inconclusive" and policy == "skip":
            pytest.skip(f"model gate inconclusive\n{text}")
        pytest.fail(f"model gate: {report.outcome}\n{text}", pytrace=False)

    def _path(self, name: str, given: str | Path | None) -> Path | None:
        chosen = given or self._config.getoption(f"--model-{name}")
        if chosen:
            return Path(chosen)
        configured = str(self._config.getini(f"model_{name}"))
        return self._config.rootpath / configured if configured else None


@pytest.fixture
def model_gate(request: pytest.FixtureRequest) -> ModelGate:
    """Check a model's evaluation against gates: `model_gate.check("gates.toml", baseline=…, run=…)`."""
    return ModelGate(request.config)
