"""``python -m train.distributed --fname CONFIG --folder LOGS --partition P --nodes 2 --tasks-per-node 8 --time 1000``.

Submits one SLURM job through submitit, one task for each GPU. SLURM signals the job before its time limit and on
preemption: the run then saves a checkpoint, requeues its job, and resumes from the checkpoint when restarted.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ijepa_viz.runtime.command_line import SuggestingParser, attempt, leave_process_group, print_anything

_REQUEUE_SECONDS = 120.0  # SLURM ends the tasks of a requeued job within this time


@dataclass(frozen=True)
class Task:
    """Callable of every task of the job: train, and requeue the job when interrupted.

    Attributes:
        fname: path of the YAML config.
        overrides: ``KEY=VALUE`` settings.
        cpu: train on CPUs.
        resume_anyway: go on from a checkpoint also with settings or data that it was not made with.
    """

    fname: str
    overrides: tuple[str, ...] = ()
    cpu: bool = False
    resume_anyway: bool = False

    def __call__(self) -> str:
        """Train; returns the path of the last checkpoint.

        Raises:
            RuntimeError: SLURM does not requeue the interrupted job, or does not end it after requeueing.
        """
        import submitit

        job = submitit.JobEnvironment()
        os.environ.update(
            RANK=str(job.global_rank),
            LOCAL_RANK=str(job.local_rank),
            WORLD_SIZE=str(job.num_tasks),
            LOCAL_WORLD_SIZE=str(max(1, job.num_tasks // job.num_nodes)),
            MASTER_ADDR=job.hostnames[0],
            # Equal for all tasks of a job, different for other jobs on the same machine.
            MASTER_PORT=str(20000 + int(job.job_id.split("_")[0]) % 20000),
        )
        if self.cpu:
            os.environ.update(ACCELERATE_USE_CPU="true", CUDA_VISIBLE_DEVICES="")
        from ijepa_viz.runtime.run_folder import saved_steps
        from train.reference_yaml import load_config
        from train.trainer import Trainer

        config, _, notes = load_config(self.fname, self.overrides, job.num_tasks)
        if job.global_rank == 0:
            print("\n".join(notes), flush=True)
        # A requeued job goes on, whether the file asks for it or not; where there is nothing to resume it begins.
        has_checkpoint = bool(saved_steps(config.run.folder))
        trainer = Trainer(config, has_checkpoint, self.resume_anyway and has_checkpoint)
        path = trainer.run()
        if trainer.interrupted:
            if job.global_rank == 0:
                self._requeue(job.raw_job_id, trainer.step)
            time.sleep(_REQUEUE_SECONDS)  # until SLURM ends the task; returning would mark the job as completed
            raise RuntimeError(
                f"SLURM requeued the job after step {trainer.step} but did not end it. {path} is complete."
            )
        leave_process_group()
        return str(path)

    def checkpoint(self) -> object:
        """Resubmission for submitit, when the signal comes before training has started."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)

    @staticmethod
    def _requeue(job: str, step: int) -> None:
        print(f"Interrupted after step {step}: job {job} is requeued.", flush=True)
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
        if done.returncode:
            why = done.stderr.strip()
            raise RuntimeError(
                f"SLURM does not requeue job {job} ({why}). The checkpoint is saved: submit again to resume."
            )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    print_anything()
    parser = SuggestingParser(prog="python -m train.distributed", description="Pretrain on a SLURM cluster.")
    parser.add_argument("--fname", required=True, help="YAML config, ours or the reference code's")
    parser.add_argument("--folder", type=Path, required=True, help="folder for SLURM logs, one for each job and task")
    parser.add_argument("--partition", required=True)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--tasks-per-node", type=int, default=8, help="one task for each GPU")
    parser.add_argument(
        "--time", type=int, default=4300, help="limit in minutes; the run then saves, requeues and resumes"
    )
    parser.add_argument("--cpus-per-task", type=int, default=10)
    parser.add_argument("--cpu", action="store_true", help="train on CPUs, without requesting GPUs")
    parser.add_argument("--notice", type=int, default=120, help="seconds from SLURM's signal to the time limit")
    parser.add_argument(
        "--slurm", nargs="+", default=[], metavar="KEY=VALUE", help="further sbatch options: account=..., qos=..."
    )
    parser.add_argument("--resume-anyway", action="store_true", help="resume with other settings or data too")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="such as optimization.lr=1e-3")
    options = parser.parse_intermixed_args(arguments)
    # argparse gives --slurm all words that follow it; config overrides have a dot in their key.
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
        # Imported by its name, because tasks cannot unpickle a class of __main__.
        from train.distributed import Task
        from train.reference_yaml import load_config

        processes = options.nodes * options.tasks_per_node
        load_config(options.fname, overrides, processes)  # reports config errors before the job is queued
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
        task = Task(str(Path(options.fname).resolve()), tuple(overrides), options.cpu, options.resume_anyway)
        job = executor.submit(task)
        print(f"Submitted job {job.job_id}; its logs are in {options.folder / str(job.job_id)}")

    return attempt("train.distributed", work)


if __name__ == "__main__":
    sys.exit(main())
