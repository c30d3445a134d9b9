"""What the networks of several papers share."""
