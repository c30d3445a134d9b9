"""ROS 2 nodes around `vlocnetpp.runtime`: the localization node and the replay of a bag through it."""
