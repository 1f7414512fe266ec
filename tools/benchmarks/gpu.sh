#!/usr/bin/env bash
# GPU check in at most 8 minutes: ops on CUDA, their speed compared with flash attention and copies,
# three models, mixed precision and training with nccl.
#
#   tools/benchmarks/gpu.sh [OUT]            on a machine with torch and triton
#   tools/benchmarks/gpu.sh --smoke [OUT]    every step with small sizes on the CPU, kernels in
#                                            Triton's interpreter
#
# OUT (default gpu_results) is the folder of the results: a log per step, report.json with all
# figures, and report.md with a table.
# Models and training need the mm packages; without them these steps are reported as left out.
# A step that fails or exceeds its time does not stop the others; the exit status is then 1.
#
set -u
smoke=0
if [ "${1:-}" = --smoke ]; then smoke=1; shift; fi
case "${1:-}" in -*) sed -n '2,13p' "$0"; exit 2 ;; esac
out=${1:-gpu_results}
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2
cd "$(dirname "$0")/../.." || exit 2
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
python=${PYTHON:-python}
rm -f "$out"/*.json "$out"/*.log "$out"/steps.txt

step() {  # name, seconds, command...
    local name=$1 limit=$2 start=$SECONDS; shift 2
    timeout "$limit" "$@" >"$out/$name.log" 2>&1
    local code=$?
    echo "$name $code $((SECONDS - start))" | tee -a "$out/steps.txt"
}

ops="tools/benchmarks/ops.py --no-tests" models="tools/benchmarks/models.py --no-tests"
if [ $smoke = 1 ]; then
    device=cpu limit=600
    ops="$ops --threads 1 --repeats 1" models="$models --threads 1 --repeats 1 --size 32 --batch 1"
    step checks $limit env TRITON_INTERPRET=1 "$python" tools/benchmarks/gpu.py check --small
    step attention $limit "$python" $ops --op bipolar_attention --n 49 --d 32 --json "$out/attention.json"
    step neurons $limit "$python" $ops --op lif ternary_lif --neurons 4096 --json "$out/neurons.json"
else
    device=cuda limit=138
    "$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null ||
        { echo "gpu.sh: torch finds no GPU; --smoke runs every step with small sizes on the CPU" >&2; exit 2; }
    ops="$ops --device cuda --dtype bfloat16" models="$models --device cuda --dtype bfloat16 --batch 32"
    step checks 120 "$python" tools/benchmarks/gpu.py check --json "$out/checks.json"
    step attention 90 "$python" $ops --op bipolar_attention --json "$out/attention.json"
    step neurons 60 "$python" $ops --op lif ternary_lif --json "$out/neurons.json"
fi
if "$python" -c 'import mmengine, mmcv, timm, spikingjelly' 2>/dev/null; then
    names="spikingformer-8-512 espikeformer-m qkformer-10-384" extra="--inference"
    if [ $smoke = 1 ]; then names=espikeformer-t; fi
    all=; for name in $names; do all="$all $name $name-bsa"; done
    step models $limit "$python" $models $extra --models $all --json "$out/models.json"
    step training $((limit / 2)) "$python" tools/benchmarks/gpu.py train --device $device --out "$out/run"
else
    echo "models 77 0" | tee -a "$out/steps.txt"
    echo "training 77 0" | tee -a "$out/steps.txt"
fi
"$python" tools/benchmarks/gpu.py report "$out"
