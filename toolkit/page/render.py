"""The pages: what was read, put into the templates beside this file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from eval.files import write_atomically
from eval.records import STATUSES
from eval.shown import confidence, percent
from rewards.core import UserError
from toolkit import __version__
from toolkit.page import figures, provenance, verdict
from toolkit.page.examples import BUDGET, browser
from toolkit.page.sources import RunFiles, Sources, read_sources

HERE = Path(__file__).parent
REPORT = "report.html"


def write_report(paths: Sequence[Path], out: Path | None = None, budget: int = BUDGET) -> Path:
    """Write the report on run and evaluation directories; give its path.

    By default it is report.html in the directory, or in the working directory for several. budget: characters that the
    examples may take. Raises UserError for a directory that holds neither, and for a place that can't be written.
    """
    out = out or (paths[0].expanduser() / REPORT if len(paths) == 1 else Path(REPORT))
    page = report_page(read_sources(paths), paths, budget)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, page)
    except OSError as error:
        raise UserError(f"{out}: can't be written: {error.strerror}; choose another place with --out") from error
    return out


def report_page(sources: Sources, paths: Sequence[Path], budget: int = BUDGET) -> str:
    """The report as HTML."""
    pairs = verdict.pairs_of(sources)
    shown = browser(sources, pairs[0].base, pairs[0].candidate, budget) if pairs else browser(sources, 0, 0, budget)
    return render(
        "report.html.jinja",
        scripts=("theme.js", "report.js"),
        title=_title(sources),
        sources=sources,
        about=[_about(run) for run in sources.runs],
        pairs=pairs,
        grounds=verdict.grounds,
        failures=[status for status in STATUSES if status not in ("right", "truncated", "error")],
        at_k=_at_k(sources),
        cautions=verdict.cautions(sources),
        curve=figures.learning_curve(sources),
        forests=[(pair, *figures.forest(pair)) for pair in pairs if pair.comparison.get("overall")],
        lengths=figures.lengths(sources),
        training=[(run, charts) for run in sources.runs if (charts := figures.training(run.logs))],
        browser=shown,
        documents=provenance.documents(sources),
        differing=provenance.differing(sources),
        commands=provenance.commands(sources, paths),
    )


def _title(sources: Sources) -> str:
    tasks = [str(each.identity["task"]) for each in sources.evaluations]
    tasks = tasks or [str(run.recipe.get("task") or "training on conversations") for run in sources.runs]
    return ", ".join(dict.fromkeys(tasks))


def _about(run: RunFiles) -> str:
    """A run in a line: its model, its date, and how long its stages took."""
    said = [str(run.recipe.get("model", {}).get("reference", "")), str(run.manifest.get("created", ""))[:10]]
    seconds = sum(float(facts.get("seconds", 0)) for facts in run.stages.values())
    said.append(f"stages done: {len(run.stages)} ({seconds / 60:.0f} min)" if run.stages else "no stage is done")
    return f"{run.name}: {', '.join(filter(None, said))}"


def _at_k(sources: Sources) -> list[str]:
    """pass@k and maj@k of each sampled evaluation, where its summary has them."""
    lines = []
    for each in sources.evaluations:
        for name, field in (("pass", "pass_at"), ("maj", "majority_at")):
            rates = getattr(each.summary, field, {})
            if rates:
                said = ", ".join(f"{name}@{k} {percent(rate.value)}" for k, rate in rates.items())
                lines.append(f"{each.label}: {said}")
    return lines


def render(template: str, *, title: str, scripts: Sequence[str] = ("theme.js",), **values: Any) -> str:
    """A page from a template, with the common style and the named scripts inside it.

    Text is escaped unless it is Markup. The page's content security policy lets these scripts run and no others, and
    lets nothing be loaded.
    """
    texts = [asset(name) for name in scripts]
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts]
    return fill(
        template,
        title=title,
        style=Markup(asset("style.css")),
        scripts=[Markup(text) for text in texts],
        policy=f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {' '.join(hashes)}",
        **values,
    )


def fill(template: str, **values: Any) -> str:
    """A template's text, escaped unless it is Markup."""
    html = _environment().get_template(template).render(version=__version__, **values)
    return html.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair has no UTF-8


@cache
def asset(name: str) -> str:
    """The text of a style or a script beside this file."""
    return (HERE / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # For |tojson, which also escapes <, >, & and ' so that data can't end its script element.
    made.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    made.filters |= {"percent": percent, "confidence": confidence}
    return made
