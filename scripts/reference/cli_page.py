"""docs/reference/cli.md, from the command line itself."""

from __future__ import annotations

from typing import Any

from toolkit.cli import command, verbs_of

HEAD = """\
# Every command

Written by `make docs` from `toolkit/cli.py`; don't edit it here. `toolkit` alone shows the road, `toolkit VERB --help`
what is below. `toolkit --install-completion` teaches your shell the verbs and options.

Results go to stdout, progress to stderr; in a pipe there are no colours, bars or boxes. `NO_COLOR` is obeyed, and
`TOOLKIT_QUIET=1` is `--quiet` for every command. Exit codes: 0 done, better, equal, or every gate passes; 1 what was
checked has faults, or some rows have no answer; 2 bad input; 10 worse; 11 can't tell; 12 not comparable; 13 invalid;
14 an engine or a trainer failed; 130 interrupted."""


def cli_page() -> str:
    """The page, as Markdown: every verb with its usage, arguments and options."""
    out = [HEAD]
    for name, verb in verbs_of(command()):
        out += ["", f"## {name}", "", *_verb(name, verb)]
    return "\n".join(out) + "\n"


def _verb(name: str, verb: Any) -> list[str]:
    context = verb.make_context(name, [], resilient_parsing=True)
    usage = " ".join([name, *verb.collect_usage_pieces(context)])
    paragraphs = [" ".join(each.split()) for each in (verb.help or "").split("\n\n")]
    rows = [each.get_help_record(context) for each in verb.get_params(context)]
    table = [f"| `{_cell(declared)}` | {_cell(meaning)} |" for declared, meaning in filter(None, rows)]
    return ["```text", usage, "```", "", *"\n\n".join(paragraphs).split("\n"), "", "| | |", "|---|---|", *table]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
