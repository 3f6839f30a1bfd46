"""What only one sample's entries need."""
