"""One folder a provider; nobody imports them but `vreg_shared.catalogue`."""
