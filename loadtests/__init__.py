"""Load tests that say whether the mesh does what its rules declare."""
