"""Tables: of one study (`study.py`), of any ablation (`ablation.py`), and how a table is written (`grid.py`)."""
