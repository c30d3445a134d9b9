"""What networks share: residual units, fusion, warping, streams, heads, depth, scene coordinates and the solver."""
