"""Every call to the cluster: its client, propagation, counters, credentials."""
