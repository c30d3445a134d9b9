"""One file for each layout of a dataset on disk, and which of them a folder has."""
