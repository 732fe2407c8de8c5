"""The api: owns the configuration, tells the bus of every change, and never reads a secret back."""
