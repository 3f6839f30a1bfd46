"""What rules declare: pure functions of the objects in the cluster."""
