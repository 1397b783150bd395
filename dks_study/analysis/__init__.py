"""What a study says: tables, statistics, figures and the report, from its folder alone. Needs neither torch nor ray.

Read `tables/study.py` first (the table that a study ends with), then `statistics/paired.py`.
"""
