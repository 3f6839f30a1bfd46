"""Reports of verdicts, and the catalogue's pages."""
