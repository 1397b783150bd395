"""Ray: one session of a study, Tune around its trials, Train around groups of workers. The only room that imports ray.

Read `session.py` first, then `joining.py` (how Ray begins and ends), `tuning.py` (Tune) and `group.py` (Train).
"""
