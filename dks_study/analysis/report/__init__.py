"""Pages: the report of a study (`page.py`, its sentences `prose.py`), and all studies of a folder (`overview.py`)."""
