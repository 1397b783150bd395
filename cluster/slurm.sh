#!/usr/bin/env bash
# CIFAR-100 with WRN-28-10 on SLURM: three machines with eight GPUs each, one trial per GPU (the study has 24 trials).
# Submit with Python's environment active, from this repository in a folder that every node sees:
#
#   sbatch cluster/slurm.sh [more options of run_study.py]
#
# Two minutes before the time limit the study is told to stop and the job is queued again; the same command goes on
# from the ledger. Choose: --nodes, --gpus-per-node, --cpus-per-task (4 for each GPU), --time, --partition, --account.
#SBATCH --job-name=dks_study
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --signal=B:INT@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
set -m # without job control bash starts background commands with SIGINT ignored: the study could not be told to stop

# The token is a file in the home folder that only its owner can read. On a cluster whose nodes do not share home
# folders, set RAY_AUTH_TOKEN_PATH to a file that they share; it is made if it is not there.
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
(
  umask 077
  if [[ -z "${RAY_AUTH_TOKEN_PATH:-}" ]]; then
    ray get-auth-token --generate > /dev/null
  elif [[ ! -s "$RAY_AUTH_TOKEN_PATH" ]]; then # which Ray would not make
    python -c 'import secrets; print(secrets.token_hex(32), end="")' > "$RAY_AUTH_TOKEN_PATH"
  fi
)

export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK" # srun does not take it over from sbatch since SLURM 22.05
port=$((20000 + SLURM_JOB_ID % 10000))           # below Linux's ephemeral ports, above those of Ray's workers
address="$(python -c 'import ray.util; print(ray.util.get_node_ip_address())'):$port"
size=(--num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}")

nodes=()
stop_nodes() {
  kill "${nodes[@]}" 2> /dev/null || true
  wait "${nodes[@]}" 2> /dev/null || true
}
trap stop_nodes EXIT

srun --nodes=1 --ntasks=1 --nodelist="$SLURMD_NODENAME" \
  ray start --head --port="$port" --dashboard-port=$((port + 1)) "${size[@]}" --block < /dev/null &
nodes+=("$!")
others=$((SLURM_JOB_NUM_NODES - 1))
if ((others > 0)); then
  srun --nodes="$others" --ntasks="$others" --exclude="$SLURMD_NODENAME" \
    ray start --address="$address" "${size[@]}" --block < /dev/null &
  nodes+=("$!")
fi

python - "$address" "$SLURM_JOB_NUM_NODES" << 'END'
import sys
import time

import ray

address, nodes = sys.argv[1], int(sys.argv[2])
ray.init(address, logging_level="ERROR", log_to_driver=False)
deadline = time.monotonic() + 600
while sum(node["Alive"] for node in ray.nodes()) < nodes:
    if time.monotonic() > deadline:
        sys.exit(f"not all of {nodes} nodes have joined within 600 s")
    time.sleep(1)
END
echo "dashboard: ssh -L 8265:127.0.0.1:$((port + 1)) $SLURMD_NODENAME, then http://127.0.0.1:8265"

python run_study.py --space paper_cifar100 --profile cifar100_wrn28_10 --results results --address "$address" "$@" &
study=$!
trap 'kill -INT "$study"' INT
status=0
wait "$study" || status=$?
while kill -0 "$study" 2> /dev/null; do # a signal ended the wait, not the study
  status=0
  wait "$study" || status=$?
done

stop_nodes
if ((status == 130)); then # it was told to stop
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
