"""The error that is shown to the user as one line."""


class PodError(Exception):
    """An error the user can mend: says what is wrong, where, and what to do next."""
