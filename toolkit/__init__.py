"""The engine room: command line, configuration, data, training, run directories. Importing it loads nothing heavy."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

__all__ = ["__version__"]
__version__ = "0.1.0"

_SIBLINGS = ("eval", "tasks", "rewards")


def _owner(name: str) -> str:
    """Who brought `name`, for an error message. Reads all installed metadata, so it is called on failure only."""
    from importlib.metadata import packages_distributions

    owners = packages_distributions().get(name, [])
    return f"the installed distribution {' and '.join(sorted(set(owners)))}" if owners else "a folder on sys.path"


def _check_siblings(root: Path) -> None:
    """Raise ImportError unless eval, tasks and rewards are the packages in `root`, beside this one.

    Their names are common ones. A stranger's `tasks` earlier on sys.path would otherwise show up much later, as a
    missing attribute. find_spec on a top-level name only looks; it imports nothing.
    """
    for name in _SIBLINGS:
        spec = find_spec(name)
        if spec is None:
            raise ImportError(f"package {name!r} is missing beside {root / 'toolkit'}; install reasoning-toolkit again")
        found = Path(spec.origin).parent if spec.origin else Path(next(iter(spec.submodule_search_locations or ())))
        if found.resolve() != root / name:
            raise ImportError(
                f"package {name!r} comes from {found} ({_owner(name)}), not from reasoning-toolkit ({root / name}); "
                "uninstall it, start from another folder, or give reasoning-toolkit an environment of its own"
            )


_check_siblings(Path(__file__).resolve().parents[1])
