"""The catalogue: what vreg can pull from and how it can prove itself there, as forms are made from it."""
