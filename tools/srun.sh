#!/usr/bin/env bash
# Start a Python tool of mmbsa with Slurm, one task per GPU:
#   tools/srun.sh PARTITION JOB_NAME SCRIPT [arguments]
# --kill-on-bad-exit ends all tasks when one fails, so that no task waits for it.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
GPUS=${GPUS:-4}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
export PYTHONPATH="$HERE/..${PYTHONPATH:+:$PYTHONPATH}"

# SRUN_ARGS is not quoted, because it contains several words
exec srun --partition="$1" --job-name="$2" --gres=gpu:"$GPUS_PER_NODE" --ntasks="$GPUS" \
    --ntasks-per-node="$GPUS_PER_NODE" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$HERE/$3" "${@:4}" --launcher slurm
