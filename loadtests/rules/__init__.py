"""What rules promise: pure functions of the objects in the cluster."""
