"""Pages: a study's report (`page.py`, its sentences `prose.py`), all studies (`overview.py`), plans (`plan.py`)."""
