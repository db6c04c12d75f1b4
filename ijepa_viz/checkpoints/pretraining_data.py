"""Whether the pictures of an evaluation were among those that a model of a training run was trained on."""

from __future__ import annotations

from pathlib import Path

import torch

from ijepa_viz.checkpoints.folders import folder_of
from ijepa_viz.data.batches import identity
from ijepa_viz.data.opening import open_source
from ijepa_viz.data.overlap import shared
from ijepa_viz.data.scan import is_scanned, scan
from ijepa_viz.data.source import Source
from ijepa_viz.data.unreadable import drop_unreadable
from ijepa_viz.runtime.run_folder import saved_steps

STATE = "trainer.pt"


def pretraining_note(model: str | Path, test: Source) -> str:
    """How many of the test pictures the model was trained on, by their content, or why that is unknown.

    It is known of a training run's checkpoint whose data set is found under its name and unchanged, and was looked
    through on this machine, as training does.

    Args:
        model: any source of ``load_model``.
    """
    folder = folder_of(model)
    steps = [] if (folder / STATE).is_file() else saved_steps(folder.parent)  # RUN/best has no state of its own
    path = (steps[-1] if steps else folder) / STATE
    if not (folder.is_dir() and path.is_file()):
        return "unknown: the model has no record of the pictures that it was trained on"
    try:
        # Mapped: the optimizer's state beside it may be larger than the memory.
        state = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
        name, start, before = state["config"]["data"]["source"], state["config"].get("start_from"), state.get("data")
        if not isinstance(name, str):
            raise TypeError(f"data.source is {name!r}")
    except Exception as error:  # a damaged pickle raises almost anything, and the evaluation's numbers are not lost
        return f"unknown: {path} is damaged or of another program ({error})"
    try:
        train = open_source(name)
        if not is_scanned(train):
            return f"unknown: the pictures of {name}, its training data, have not been looked through on this machine"
        train, _ = drop_unreadable(train)
    except (OSError, ValueError) as error:
        return f"unknown: {name}, its training data, cannot be opened ({error})"
    try:
        if before != identity(train):
            words = "holds other pictures than it was trained on, or in another order"
            return f"unknown: {name}, its training data, {words}"
        if unread := len(scan(test).errors) if test.render is None else 0:
            return f"unknown: {unread} of the {len(test)} test pictures can no longer be read"
        count = len(shared(train, test))
    except (OSError, ValueError) as error:
        return f"unknown: the pictures cannot be compared by content ({error})"
    more = f", beside those of {start}, from which it started" if start else ""
    return f"{count} of the {len(test)} test pictures are among the {len(train)} that it was trained on ({name}){more}"
