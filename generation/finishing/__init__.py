"""Make the files for channels from a master's pixels. Pure; knows no models."""
