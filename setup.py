from setuptools import find_packages, setup

setup(name="vlocnetpp_ros", version="0.1.0", packages=find_packages(include=["vlocnetpp*", "vlocnetpp_ros*"]),
      entry_points={"console_scripts": ["vlocnetpp = vlocnetpp.cli:main",
      "localization_node = vlocnetpp_ros.localization_node:main", "replay = vlocnetpp_ros.replay:main"]})
