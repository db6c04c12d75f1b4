"""``python -m train.distributed --fname CONFIG --folder LOGS --partition P --nodes 2 --tasks-per-node 8 --time 1000``.

One SLURM job through submitit, one task a GPU. Before its time limit, or when it is preempted, SLURM sends a signal:
the run saves, puts its job back into the queue, and goes on from its checkpoint when it is started again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ijepa_viz.runtime.command_line import attempt, leave_process_group

_PATIENCE = 120.0  # seconds until SLURM has ended a requeued job


@dataclass(frozen=True)
class Task:
    """What every task of the job does: train, and put the job back where it was interrupted.

    Attributes:
        fname: the config. overrides: ``KEY=VALUE`` each. cpu: train on CPUs.
    """

    fname: str
    overrides: tuple[str, ...] = ()
    cpu: bool = False

    def __call__(self) -> str:
        """Returns the last checkpoint; raises RuntimeError where the queue takes the job back no more."""
        import submitit

        place = submitit.JobEnvironment()
        os.environ.update(
            RANK=str(place.global_rank),
            LOCAL_RANK=str(place.local_rank),
            WORLD_SIZE=str(place.num_tasks),
            LOCAL_WORLD_SIZE=str(max(1, place.num_tasks // place.num_nodes)),
            MASTER_ADDR=place.hostnames[0],
            # The same for all tasks of a job, and another for another job on the same machine.
            MASTER_PORT=str(20000 + int(place.job_id.split("_")[0]) % 20000),
        )
        if self.cpu:
            os.environ.update(ACCELERATE_USE_CPU="true", CUDA_VISIBLE_DEVICES="")
        from train.reference_yaml import load_config
        from train.trainer import Trainer

        config, resume, notes = load_config(self.fname, self.overrides, place.num_tasks)
        if place.global_rank == 0:
            print("\n".join(notes), flush=True)
        begun = any(p.name[5:].isdigit() for p in Path(config.run.folder).glob("step-*"))
        trainer = Trainer(config, resume or begun)
        path = trainer.run()
        if trainer.interrupted:
            if place.global_rank == 0:
                self._requeue(place.raw_job_id, trainer.step)
            time.sleep(_PATIENCE)  # SLURM ends the tasks; to return would call the job finished
            raise RuntimeError(f"The job was requeued after step {trainer.step}, but is not ended. {path} is complete.")
        leave_process_group()
        return str(path)

    def checkpoint(self) -> object:
        """What submitit puts back into the queue when the signal comes before the training has begun."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)

    @staticmethod
    def _requeue(job: str, step: int) -> None:
        print(f"Interrupted after step {step}: job {job} goes back into the queue.", flush=True)
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
        if done.returncode:
            why = done.stderr.strip()
            raise RuntimeError(f"SLURM does not requeue job {job} ({why}). Nothing is lost: submit the same again.")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m train.distributed", description="Pretrain on a SLURM cluster.")
    parser.add_argument("--fname", required=True, help="a YAML file of ours or of the reference code's")
    parser.add_argument("--folder", type=Path, required=True, help="for the job's own logs, one a job and task")
    parser.add_argument("--partition", required=True)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--tasks-per-node", type=int, default=8, help="one a GPU")
    parser.add_argument("--time", type=int, default=4300, help="limit in minutes; then it saves, requeues and goes on")
    parser.add_argument("--cpus-per-task", type=int, default=10)
    parser.add_argument("--cpu", action="store_true", help="train on CPUs: ask for no GPUs")
    parser.add_argument("--notice", type=int, default=120, help="seconds between SLURM's signal and the limit")
    parser.add_argument("--slurm", nargs="+", default=[], metavar="KEY=VALUE", help="as sbatch: account=..., qos=...")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="such as optimization.lr=1e-3")
    options = parser.parse_intermixed_args(arguments)
    # Settings of ours have a dot; --slurm takes all that follows.
    own = [word for word in options.slurm if "." in word.partition("=")[0]]
    overrides = [*options.overrides, *own]

    def work() -> None:
        wrong = [word for word in options.slurm if "=" not in word]
        if wrong:
            raise ValueError(f"--slurm takes KEY=VALUE, got {wrong[0]!r}.")
        extra = dict(word.split("=", 1) for word in options.slurm if word not in own)
        try:
            import submitit
        except ImportError as error:
            raise ValueError("Jobs are submitted with submitit, which is missing: pip install submitit") from error
        # By its own name and not as part of __main__, which tasks do not have.
        from train.distributed import Task
        from train.reference_yaml import load_config

        processes = options.nodes * options.tasks_per_node
        load_config(options.fname, overrides, processes)  # a typo should not wait in a queue
        executor = submitit.AutoExecutor(folder=options.folder / "%j", cluster="slurm", slurm_max_num_timeout=10**6)
        executor.update_parameters(
            name="ijepa_viz",
            nodes=options.nodes,
            tasks_per_node=options.tasks_per_node,
            cpus_per_task=options.cpus_per_task,
            timeout_min=options.time,
            slurm_partition=options.partition,
            slurm_signal_delay_s=options.notice,
            slurm_additional_parameters={"requeue": True, "open-mode": "append", **extra},
        )
        if not options.cpu:
            executor.update_parameters(gpus_per_node=options.tasks_per_node)
        job = executor.submit(Task(str(Path(options.fname).resolve()), tuple(overrides), options.cpu))
        print(f"Submitted job {job.job_id}; its logs are in {options.folder / str(job.job_id)}")

    return attempt("train.distributed", work)


if __name__ == "__main__":
    sys.exit(main())
