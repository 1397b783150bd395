"""The base of all errors that a person can put right."""


class Problem(Exception):
    """The message is one line: the key or the file, the rule, the value; it holds no password."""
