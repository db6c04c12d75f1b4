"""Every probe on a random checkpoint of ViT-H/14's size, in the reference's format, within 8 GB of memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from ijepa_viz.checkpoints import load_model, save_reference
from ijepa_viz.models import IJEPA, ModelConfig

path, what = sys.argv[1:]
if what == "make":
    config = ModelConfig.of_size("huge", patch_size=14, predictor_depth=12)
    with torch.device("meta"):
        model = IJEPA(config)
    model = model.to_empty(device="cpu")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter.data, std=0.02)
    save_reference(model, path)
    sys.exit()
model = load_model(path)
others = torch.randint(0, 256, (4, 3, 224, 224), dtype=torch.uint8)
if what in ("knn", "factors"):
    from ijepa_viz.data.opening import open_source
    from ijepa_viz.probes.factors import factor_table
    from ijepa_viz.probes.knn import knn_accuracy
    from ijepa_viz.probes.features import FeatureBank
    if what == "knn":
        bank = FeatureBank(model, lambda name: open_source("menagerie:count=4", name))
        table = bank.table(lambda *arrays: knn_accuracy(*arrays, k=2))
    else:
        table = factor_table(model, train=4, test=2)
else:
    from ijepa_viz.inspections import INSPECTIONS, InspectionInput
    from ijepa_viz.masks import Masks
    few = Masks(torch.arange(0, 256, 32)[None], torch.tensor([[[17, 18, 33, 34]]]), (16, 16))
    masks = few if what == "ablation" else Masks.from_block((16, 16), 6, 6, 4, 4)
    INSPECTIONS[what](InspectionInput(model, torch.rand(3, 224, 224), masks, others, scenes=8))
print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("huge") / "huge.pth.tar"
    subprocess.run([sys.executable, "-c", PROGRAM, str(path), "make"], check=True)
    yield str(path)
    path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["maps", "retrieval", "components", "position", "ablation", "knn", "factors"])
def test_probes_of_a_giant_stay_within_eight_gigabytes(checkpoint, what):
    done = subprocess.run([sys.executable, "-c", PROGRAM, checkpoint, what], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    peak = float(done.stdout.split("PEAK")[1])
    print(f"{what}: {peak:.2f} GiB at most")
    assert 2.0 < peak < 8.0
