#!/usr/bin/env bash
# tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of tools/test.py]
# Environment variables: GPUS, GPUS_PER_NODE, CPUS_PER_TASK, SRUN_ARGS.
if [ $# -lt 4 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of tools/test.py]" >&2
    exit 2
fi
exec bash "$(dirname "$0")/srun.sh" "$1" "$2" test.py "${@:3}"
