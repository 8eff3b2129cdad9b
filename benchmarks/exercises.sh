#!/bin/sh
# The trainings of docs/exercises.md: half an hour of one core. The same command again goes on.
# benchmarks/exercises.sh [FOLDER FOR RUNS]
set -eu
runs=${1:-runs/exercises}
mkdir -p "$runs"
export OMP_NUM_THREADS=1
sweep() {
  name=$1
  shift
  lenext sweep fashion_mnist --run "$runs/$name" --set data.limit=5000 --set training.threads=1 "$@" > "$runs/$name.txt"
}
sweep activations --model lenet5_dense --recipe adamw --vary network.activation=sigmoid,tanh,relu --vary network.pooling=average,max
sweep window --model lenet5_relu --vary network.window=3,5,7
sweep channels --model lenet5_relu --vary 'network.channels=[3, 8],[6, 16],[12, 32],[24, 64]'
sweep rate --model lenet5_relu --vary training.optimizer.rate=0.0003,0.001,0.003,0.01
sweep simplified --vary model=lenet5_relu,alexnet_small --recipe adamw
sweep batch --model alexnet_small --vary training.batch_size=32,128,512 --epochs 5
sweep blocks --vary model=plain20,resnet20,preact_resnet20,seresnet20 --epochs 4
sweep bottleneck --model resnet20 --vary network.block=basic,bottleneck --epochs 4
sweep enlarged --model vgg11_d2l --recipe adamw --vary size=96,224 --epochs 3 --set data.limit=1000 --seeds 2
