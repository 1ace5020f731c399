"""The error of the lab."""


class LabError(Exception):
    """A server, program or file that the lab needs is missing or does not work; the message is for the user."""
