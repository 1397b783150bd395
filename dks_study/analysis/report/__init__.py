"""Pages: the report of a study (`page.py`, sentences: `prose.py`), all studies (`overview.py`), a plan (`plan.py`)."""
