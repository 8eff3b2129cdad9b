#!/bin/sh
# An environment for `make parity`: lenext, torchvision and timm beside one torch. Usage: environment.sh FOLDER
# torchvision's wheel asks for a torch built in the same place, so it comes without what it asks for; its compiled operators
# then do not load, and its networks need none of them (parity/peers.py). The versions are those that the papers' rows name.
set -eu
folder=$1
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/python" -m pip install -q --editable . "pytest>=8.2" "pytest-xdist>=3.6" pyyaml huggingface_hub
"$folder/bin/python" -m pip install -q --no-deps torchvision==0.28.0 timm==1.0.31
