"""What a study says: tables, statistics, figures and the report, from its folder alone. Needs neither torch nor ray.

Read `tables/study.py` first (the table that a study ends with), then `statistics/paired.py`.
"""

import logging

# Matplotlib says so on stderr once on each machine, in the middle of the view of a study, where it is not asked for.
logging.getLogger("matplotlib.font_manager").addFilter(lambda record: "building the font cache" not in str(record.msg))
