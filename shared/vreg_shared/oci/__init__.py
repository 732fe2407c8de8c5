"""The words of the OCI image and distribution specifications, parsed once."""
