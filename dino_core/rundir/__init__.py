"""The run directory: the only contract between training and everything that looks at it (FORMAT.md, beside)."""
