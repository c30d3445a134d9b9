"""One paper, one file: its network, its settings, its published figures, and where it departs from the paper."""
