"""VLocNet++: global pose, visual odometry and semantics from one camera and one forward pass per frame.

Radwan, Valada, Burgard: VLocNet++: Deep Multitask Learning for Semantic Visual Localization and Odometry, 2018.
This package is free of ROS; `vlocnetpp_ros` is the ROS 2 side.
"""

__version__ = "0.1.0"
