#!/bin/sh
# Every experiment at a scale for two cores, some three hours of them: few epochs of a part of CIFAR-10, at 16 pixels where
# the network takes them. One thread a run, as many experiments at a time as there are cores. Finished runs are kept.
# benchmarks/experiments/two_cores.sh FOLDER-OF-MNIST-AND-CIFAR10 [FOLDER FOR RUNS]
set -eu
root=$1
out=${2:-runs/experiments}
mkdir -p "$out"
export OMP_NUM_THREADS=1
sed -n 's/^#> //p' "$0" | xargs -P "${LANES:-$(nproc)}" -I ASKED sh -c "
  name=\$(echo ASKED | cut -d' ' -f1); shown=\$(echo ASKED | cut -d' ' -f2); rest=\$(echo ASKED | cut -s -d' ' -f3-)
  python -m benchmarks.experiments.\$name --root '$root' --out '$out'/\$shown --set training.threads=1 \
    --set training.precision=bf16 \$rest > '$out'/\$shown.txt 2> '$out'/\$shown.log || { echo \"\$shown failed: $out/\$shown.log\"; exit 1; }"

# script, name of the folder, options
#> gradient_norms gradient_norms --data cifar10
#> relu_tanh relu_tanh --data cifar10 --set data.limit=5000 --epochs 12 --seeds 3
#> invariance invariance --data mnist --set data.limit=10000 --epochs 6 --seeds 5
#> degradation degradation --data cifar10 --size 16 --set data.limit=5000 --epochs 10 --seeds 3 --set training.batch_size=32 --set training.optimizer.rate=0.05
#> ablations bn_batch --only bn_batch --data cifar10 --size 16 --set data.limit=5000 --epochs 5 --seeds 3
#> ablations batch_norm --only batch_norm --data cifar10 --set data.limit=5000 --epochs 5 --seeds 3
#> ablations response_norm --only response_norm --data cifar10 --set data.limit=5000 --epochs 10 --seeds 3
#> ablations dropout --only dropout --data cifar10 --set data.limit=2000 --epochs 30 --seeds 3
#> ablations augmentation --only augmentation --data cifar10 --size 16 --set data.limit=2000 --epochs 40 --seeds 3
#> small_kernels small_kernels --data cifar10 --size 16 --set data.limit=5000 --epochs 10 --seeds 3
#> densenet_parameters densenet_parameters --data cifar10 --size 16 --set data.limit=5000 --epochs 8 --seeds 3 --set training.batch_size=32 --set training.optimizer.rate=0.05
#> identity_copy identity_copy --data cifar10 --size 16 --set data.limit=5000 --epochs 8 --seeds 3
#> stochastic_depth stochastic_depth --data cifar10 --size 16 --set data.limit=5000 --epochs 4 --seeds 3 --set training.batch_size=32 --set training.optimizer.rate=0.05
#> preactivation preactivation --data cifar10 --size 16 --set data.limit=5000 --epochs 4 --seeds 3 --set training.batch_size=32 --set training.optimizer.rate=0.05
#> wide_deep wide_deep --data cifar10 --size 16 --set data.limit=5000 --epochs 4 --seeds 3 --set training.batch_size=32 --set training.optimizer.rate=0.05
#> masked_pretraining masked_pretraining --data cifar10 --epochs 15 --seeds 3
