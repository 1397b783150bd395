"""The protocol: what to run next, what is kept, what counts as a result. Knows nothing of Ray.

Read `planner.py` first (what a study runs next), then `ledger.py` (what a resume goes by) and `trial.py` (one trial in
its folder).
"""
