"""Access tokens: who may pull, and who may change the configuration."""
