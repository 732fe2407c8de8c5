"""The log of pulls: who pulled what from where, for a short while."""
