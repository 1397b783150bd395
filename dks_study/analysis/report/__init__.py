"""Pages: the report of a study (`page.py`, its sentences `prose.py`), all studies (`overview.py`), plans (`plan.py`)."""
