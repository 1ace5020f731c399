"""What the lab cannot do, in one line."""


class LabError(Exception):
    """Something that the lab needs is missing or does not work."""
