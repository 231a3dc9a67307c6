"""DIDs of those who act under a lasting name: members, practitioners, guardians, devices."""
