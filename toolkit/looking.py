"""A look at a recipe's run directory that writes nothing: what would a verb find there, and go on with?"""

from __future__ import annotations

from toolkit.config import Recipe, load_recipe
from toolkit.data_stage import changed_sources
from toolkit.inside import refuse_links_out
from toolkit.rundir import Run, differs, holds_results, refuse_another, refuse_strangers

NOTHING = ".nothing"  # a directory that never is


def as_found(recipe: Recipe) -> Run:
    """The run that `opened` would give. Where it would put away what another recipe left, one that holds nothing.

    Raises UserError where it would refuse the directory.
    """
    directory = recipe.output.expanduser()
    refuse_links_out(directory)
    refuse_strangers(directory)
    run = Run(directory, recipe)
    if not (directory / "recipe.yaml").is_file():
        return run
    before = load_recipe(directory / "recipe.yaml")
    refuse_another(run, before)
    return run if holds_results(run) or not differs(run, before) else Run(directory / NOTHING, recipe)


def has_data(run: Run) -> bool:
    """Whether the data stage has ended well, and would find nothing to build anew."""
    return run.is_done("data") and not changed_sources(run)
