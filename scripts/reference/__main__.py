"""python -m scripts.reference [--check]: write the generated pages, plots and schemas, or fail where they are stale."""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.reference.bars import bar_plots
from scripts.reference.cli_page import cli_page
from scripts.reference.parameters import parameters_page
from scripts.reference.plots import plots
from scripts.reference.schemas import schemas

ROOT = Path(__file__).resolve().parents[2]


def generated() -> dict[Path, str]:
    """Every generated file with what it should hold."""
    files = {"docs/reference/parameters.md": parameters_page(), "docs/reference/cli.md": cli_page()}
    files |= {f"schemas/{name}.schema.json": text for name, text in schemas().items()}
    files |= {f"docs/img/{name}.svg": text for name, text in (plots() | bar_plots()).items()}
    return {ROOT / name: text for name, text in files.items()}


def main(arguments: list[str]) -> int:
    """Give the exit status: 1 where a file is stale and only a check was asked for."""
    stale = {
        path: text
        for path, text in generated().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    }
    for path, text in stale.items():
        print(f"{'stale' if '--check' in arguments else 'written'}: {path.relative_to(ROOT)}")
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if stale and "--check" in arguments:
        print("run: make docs")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
