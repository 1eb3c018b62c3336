"""One training as a process, or as several that share every batch."""

import argparse
import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from detq.errors import InputError
from detq.whole_file import written_whole
from tools.train import descend
from tools.train.network import Layout, Model, recorded
from tools.train.samples import Drawn, Sample, batches

SAVE_EVERY = 100  # steps; a multiple of --every
MOSAICS = 0.85  # of the training; its end sees whole images only


def run(wanted: argparse.Namespace) -> None:
    """Train as the command line says, and write the checkpoint.

    Raises:
        InputError: the processes cannot share a batch evenly.
    """
    if wanted.batch % wanted.processes:
        raise InputError(
            f"{wanted.processes} processes cannot share {wanted.batch} images evenly",
            where="--batch",
            hint="give a multiple of --processes",
        )
    if wanted.processes == 1:
        train(0, wanted)
        return
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", str(wanted.port))
    spawn(_train_part, (wanted,), nprocs=wanted.processes)  # type: ignore[no-untyped-call]


def _train_part(rank: int, wanted: argparse.Namespace) -> None:
    backend = "nccl" if wanted.device == "cuda" else "gloo"
    distributed.init_process_group(backend, rank=rank, world_size=wanted.processes)
    train(rank, wanted)
    distributed.destroy_process_group()


def train(rank: int, wanted: argparse.Namespace) -> None:
    """Train, as one of the processes; the first one reports and writes the checkpoint."""
    torch.manual_seed(wanted.seed)
    if wanted.threads:
        torch.set_num_threads(wanted.threads)
    names, sample = _samples(wanted)
    model = Model(Layout(wanted.width, wanted.backbone, wanted.neck), names)
    descend.prepare(model)
    parts = wanted.processes
    steps = wanted.count // wanted.batch

    def report(at: descend.Progress, averaged: Model) -> None:
        if rank:
            return
        print(
            f"{at.step * wanted.batch} images, {at.seconds:.0f} s: class loss "
            f"{at.class_loss:.3f}, box loss {at.box_loss:.3f}",
            flush=True,
        )
        if at.step % SAVE_EVERY == 0 or at.step == steps:
            save(averaged, wanted.output, at.step)

    size = wanted.batch // parts
    descend.learn(
        model.to(f"cuda:{rank}" if wanted.device == "cuda" else "cpu"),
        batches(sample, steps * size, size, workers=wanted.workers, part=(rank, parts)),
        descend.Schedule(steps, rate=wanted.rate),
        report,
        every=wanted.every,
    )


def _samples(wanted: argparse.Namespace) -> tuple[tuple[str, ...], Callable[[int], Sample]]:
    """Class names, and samples by number."""
    if wanted.data is None:
        from detq_eval.demo_set.shapes import NAMES

        return NAMES, Drawn(wanted.seed, wanted.size)
    from tools.train.pictures import Changed, read_pictures

    pictures = read_pictures(wanted.data, wanted.images)
    mosaics = int(wanted.count * MOSAICS)
    return pictures.names, Changed(pictures, wanted.seed, wanted.size, mosaics)


def save(model: Model, path: Path, step: int) -> None:
    """Write a checkpoint as YOLOv6's own trainer leaves it: the model in half precision."""
    content: dict[str, object] = {
        "model": deepcopy(model).cpu().half(), "ema": None, "updates": None, "optimizer": None,
        "scheduler": {}, "epoch": step, "results": [],
    }  # fmt: skip
    with recorded(), written_whole(path) as temporary:
        torch.save(content, temporary)
