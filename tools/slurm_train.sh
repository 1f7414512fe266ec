#!/usr/bin/env bash
# tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of tools/train.py]
# Environment variables: GPUS, GPUS_PER_NODE, CPUS_PER_TASK, SRUN_ARGS.
if [ $# -lt 3 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG [arguments of tools/train.py]" >&2
    exit 2
fi
exec bash "$(dirname "$0")/srun.sh" "$1" "$2" train.py "${@:3}"
