"""The root of every error vreg raises on purpose."""


class VregError(Exception):
    """A case somebody handles differently; its text says what to do next and holds no secret."""
