"""One self-contained HTML page: of runs and evaluations (`toolkit report`), and of a data inspection.

sources.py reads, verdict.py and figures.py say and draw what was read, examples.py chooses what the browser gets,
render.py puts it into the templates beside it. No page loads anything: style, scripts and data are inside it, and a
content security policy forbids the rest.
"""
