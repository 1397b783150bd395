"""The steps of gpu_check.py, each a command of its own that prints Markdown: read gpu_check.py first."""
