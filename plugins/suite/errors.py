"""The errors that a user can mend; programs print them as one line and exit with status 2."""


class UserError(Exception):
    """One line: the file, key or value, the rule that it breaks, and the fix."""
