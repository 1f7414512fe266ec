#!/usr/bin/env bash
# Start a Python tool of mmbsa on several processes: on GPUs (nccl), or on a CPU without GPUs (gloo).
#   tools/torchrun.sh SCRIPT PROCESSES [arguments of the script]
# Environment variables: NNODES, NODE_RANK, MASTER_ADDR and PORT for several nodes (the same PORT on
# each); PORT alone sets the port on one node; OMP_NUM_THREADS sets the threads of each process;
# PYTHON sets the interpreter.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SCRIPT=$1
PROCESSES=$2
shift 2

if ! [[ $PROCESSES =~ ^[1-9][0-9]*$ ]]; then
    echo "error: the number of processes per node must be a positive integer, got '$PROCESSES'" >&2
    exit 2
fi
if [ -z "${OMP_NUM_THREADS:-}" ]; then
    # divide the cores of the node between its processes
    threads=$(($(getconf _NPROCESSORS_ONLN) / PROCESSES))
    export OMP_NUM_THREADS=$((threads > 0 ? threads : 1))
fi
export MKL_NUM_THREADS=${MKL_NUM_THREADS:-$OMP_NUM_THREADS}
export PYTHONPATH="$HERE/..${PYTHONPATH:+:$PYTHONPATH}"

if [ "${NNODES:-1}" = 1 ] && [ "${PORT:-0}" = 0 ]; then
    where=(--nnodes=1 --rdzv-backend=c10d --rdzv-endpoint=127.0.0.1:0 --local-addr=127.0.0.1) # port 0: any free port
else
    where=(--nnodes="${NNODES:-1}" --node-rank="${NODE_RANK:-0}" --master-addr="${MASTER_ADDR:-127.0.0.1}"
        --master-port="${PORT:-29500}")
fi
exec "${PYTHON:-python}" -m torch.distributed.run "${where[@]}" --nproc-per-node="$PROCESSES" \
    "$HERE/$SCRIPT" "$@" --launcher pytorch
