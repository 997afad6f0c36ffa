"""Models in local folders and files, run by the diffusers library."""
