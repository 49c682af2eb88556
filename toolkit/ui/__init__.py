"""`toolkit ui`: a local page on runs, and a box to ask their models.

runs.py finds runs and says where each stands, live.py reads what changes while one trains, asking.py keeps the models,
app.py is the web application (Starlette). What is drawn comes from toolkit/page, as in the report.
"""
