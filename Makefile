# `make demo` and `make test` each bring a fresh Debian or Ubuntu machine (CPython 3.10-3.12, no ROS) to a working state:
# everything is installed into .venv, in the versions of constraints.txt, and nothing outside it is touched.
# Where a ROS 2 installation is sourced (Humble, Jazzy), its own client is used instead of the wheels from PyPI.
#
#   make demo                       the bundled bag through the real node over DDS; results in out/demo
#   make test                       everything CI runs: ruff, mypy, pytest
#   make test-quick                 a developer's loop, about a minute: ruff, mypy, tests that train and start nothing
#   make test-lowest                numerics as on an x86 processor without AVX; `make test` runs it too
#   make format                     put the code into the shape that `make test` asks for
#   make venv                       only the installation, for `. .venv/bin/activate`
#   make clean                      remove .venv and what builds and tests leave behind; out/ and runs/ stay
#
#   make demo PYTHON=python3.11     choose the interpreter of a new .venv; one that exists keeps its own (make clean)
#   make demo PIP_TORCH="..."       options for the installation of torch alone. By default pip takes the build that its
#                                   index offers, on x86-64 one for CUDA (several GB). For a machine without a GPU: choose
#                                   Linux, Pip, CPU on pytorch.org, "Get started", and give what it prints:
#                                   make venv PIP_TORCH="--index-url URL"
#   make test PYTEST="-k metrics"   options for pytest

PYTHON ?=
PIP_TORCH ?=
PYTEST ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

ifneq ($(and $(ROS_DISTRO),$(AMENT_PREFIX_PATH)),)
CLIENT := $(ROS_DISTRO)
CLIENT_IS := that of ROS 2 $(ROS_DISTRO)
VENV_OPTIONS := --system-site-packages
WHEELS :=
else
CLIENT := wheels
CLIENT_IS := from PyPI
VENV_OPTIONS :=
WHEELS := "ros-jazzy-rclpy[fastrtps]" ros-jazzy-common-interfaces
endif

# A stamp for each step, so that the second time installs nothing. Its name carries the client: sourcing ROS later, or
# no longer, makes a new .venv instead of a mixture.
MADE := .venv/.made-$(CLIENT)
DEMO := .venv/.demo-$(CLIENT)
TEST := .venv/.test-$(CLIENT)

# The wheels set this in every process; inherited from another environment it would hide this one's libraries.
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE
SHELL := /bin/sh
.SHELLFLAGS := -euc
.ONESHELL:
.DELETE_ON_ERROR:
# What PyTorch and oneDNN may use: no more than a processor without AVX has. Both are ignored on other processors.
LOWEST := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41
# Where rounding and precision decide; not exports to ONNX, which take longest, nor what is not numerics.
ON_LOWEST := $(addprefix test/test_,speed.py runtime.py alignment.py pose_hypotheses.py) \
    test/test_distributed.py::test_a_batch_in_parts_is_weighted_like_a_whole_one -k 'not (onnx or refused or bound or command)'
QUICK := $(patsubst %,test/test_%.py,arrivals bags calibration contributing docs figures foreign_bags geometry \
    layers layout_details layouts losses messages metrics pairing parameters ring_buffer runtime settings \
    trajectory_files transforms virtual_camera warping)
.PHONY: help demo test test-quick test-lowest format venv clean

help:
	@sed -n '/^$$/q; s/^# \{0,1\}//p' Makefile

demo: $(DEMO)
	@$(BIN)/replay models/demo.ts models/demo_bag --out out/demo --replace --fast

# pytest's plugins that a ROS installation or colcon bring along are not ours to load; some break with a current pytest.
PYTEST_RUN := PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(BIN)/python -m pytest -p xdist -n 2

test: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST_RUN) $(PYTEST)
	$(LOWEST) $(PYTEST_RUN) $(ON_LOWEST)

test-quick: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST_RUN) $(QUICK)

test-lowest: $(TEST)
	$(LOWEST) $(PYTEST_RUN) $(ON_LOWEST)

format: $(TEST)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

venv: $(TEST)
	@echo "Done: everything is in .venv. Now: source .venv/bin/activate"

clean:
	rm -rf .venv build install log .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -exec rm -rf {} +

$(MADE):
	@suitable='import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))'
	python=
	for candidate in $(or $(PYTHON),python3 python3.12 python3.11 python3.10); do
	    # Running it tells more than finding it: version managers leave names that lead nowhere.
	    if "$$candidate" -c "$$suitable" 2>/dev/null; then python=$$candidate; break; fi
	done
	if [ -z "$$python" ]; then
	    echo "No CPython 3.10, 3.11 or 3.12 among: $(or $(PYTHON),python3 python3.12 python3.11 python3.10)." \
	        "Install one, or name it: make PYTHON=/path/to/python3.11" >&2
	    exit 1
	fi
	version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then
	    echo "Python $$version cannot make virtual environments here: install the package python$$version-venv" \
	        "(sudo apt-get install python$$version-venv)" >&2
	    exit 1
	fi
	clear=
	for other in .venv/.made-*; do
	    if [ -e "$$other" ] && [ "$$other" != "$@" ]; then
	        echo "The ROS 2 client was $${other#.venv/.made-} and is now $(CLIENT): making .venv anew"
	        clear=--clear
	    fi
	done
	echo "Making .venv with Python $$version; the ROS 2 client is $(CLIENT_IS)"
	"$$python" -m venv $(VENV_OPTIONS) $$clear .venv
	touch $@

# torch on its own, for the sake of its options; then the package, whose dependencies setup.py names.
$(DEMO): $(MADE) setup.py constraints.txt
	@echo "Installing what the demo needs; the first time takes some minutes"
	$(PIP) install --quiet -c constraints.txt setuptools wheel
	$(PIP) install --quiet -c constraints.txt $(PIP_TORCH) torch
	$(PIP) install --quiet -c constraints.txt --no-build-isolation -e ".[bags]" $(WHEELS)
	touch $@

$(TEST): $(DEMO)
	@echo "Installing what the tests need"
	$(PIP) install --quiet -c constraints.txt --no-build-isolation -e ".[bags,train,render,onnx,report,test,dev]" colcon-core colcon-ros
	touch $@
