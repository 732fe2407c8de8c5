"""Connection tests: of what is saved, or of what is about to be."""
