#!/bin/sh
# The least costly row for small images of every family, trained for two epochs on Fashion-MNIST: one seed each.
# benchmarks/small_rows.sh [FOLDER FOR RUNS]
set -eu
runs=${1:-runs/small}
for row in $(python -c '
from lenext.models.catalog import fits
from lenext.papers import FAMILIES, load_papers
for family in FAMILIES:
    rows = [row for row in load_papers().values() if row.family == family and fits(row.name, 28)]
    print(min(rows, key=lambda row: row.macs).name)'); do
  [ -d "$runs/$row" ] || lenext train fashion_mnist --model "$row" --epochs 2 --report --run "$runs/$row"
done
