"""Code that only the entries of one sample need."""
