"""Recordings: ROS bags read, turned into a training folder, and written from any dataset. Needs no ROS installation."""
