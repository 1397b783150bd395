"""Ray: one session of a study, Tune around its trials, Train around groups of workers. The only room that imports ray.

Read `session.py` first, then `tuning.py` (Tune) and `worker.py` (Train).
"""
