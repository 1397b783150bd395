"""The page that a study has while it runs: as a file beside its results, and served with live numbers.

Start with snapshot.py: all that a page may show.
"""
