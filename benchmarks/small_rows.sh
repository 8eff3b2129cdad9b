#!/bin/sh
# The least costly row for small images of every family, trained for three epochs on 10,000 images of Fashion-MNIST: one
# seed each, as many at a time as there are cores, of one thread each; the costliest first.
# benchmarks/small_rows.sh [FOLDER FOR RUNS]
set -eu
runs=${1:-runs/small}
mkdir -p "$runs"
export OMP_NUM_THREADS=1
python -c '
from lenext.models.catalog import fits
from lenext.papers import FAMILIES, load_papers
rows = [[row for row in load_papers().values() if row.family == family and fits(row.name, 28)] for family in FAMILIES]
least = [min(each, key=lambda row: row.macs) for each in rows]
print(*(row.name for row in sorted(least, key=lambda row: -row.macs)), sep="\n")' |
  xargs -P "$(nproc)" -I ROW sh -c "[ -d '$runs/ROW' ] || lenext train fashion_mnist --model ROW \
    --epochs 3 --set data.limit=10000 --set training.threads=1 --run '$runs/ROW' && lenext eval '$runs/ROW'"
