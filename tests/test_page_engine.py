"""The live page's engine: its samplers beside diffusers' (in node), and the whole chain beside Python's (in Chromium)."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, random_decoder
from jupyter_lab import watch
from page_latency import served
from page_parity import WANTED, drawn_by_page, drawn_by_python, gaps, parity_cases

from decoders import load_decoder, save_decoder
from decoders.sampling import SOLVERS, with_steps
from ijepa_viz import load_model, predict
from ijepa_viz.checkpoints import save_folder
from ijepa_viz.data.transforms import denormalise, normalise, to_pixels
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.page import runtime_files

PAGE = Path(runtime_files.__file__).parent
SCRIPTS = ("engine.js", "worker.js", "networks.js", "sampler.js")


def in_node(folder, script):
    """What a script prints as JSON; it may import the engine's modules as ./NAME.mjs."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the page's samplers are tested in the browser only")
    for name in SCRIPTS:
        shutil.copy(PAGE / name, folder / name.replace(".js", ".mjs"))
    (folder / "script.mjs").write_text(script)
    done = subprocess.run([node, "script.mjs"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_noise_of_a_seed_is_torchs(tmp_path):
    seeds, counts = [0, 1, 123456789, 2**32 + 5], [64 * 192, 16, 100, 37]
    found = in_node(
        tmp_path,
        f"""import {{ GaussianNoise }} from "./sampler.mjs";
        const all = {seeds}.map((seed) => {{ const noise = new GaussianNoise(seed); return {counts}.map((n) => [...noise.draw(n)]); }});
        console.log(JSON.stringify(all));""",
    )
    for seed, parts in zip(seeds, found, strict=True):
        generator = torch.Generator().manual_seed(seed)
        for count, values in zip(counts, parts, strict=True):
            assert (torch.tensor(values) - torch.randn(count, generator=generator)).abs().max() < 3e-6


@pytest.mark.parametrize("solver", ["euler", "dpm++", "sde-dpm++"])
def test_samplers_equal_diffusers_on_the_same_noise(tmp_path, solver):
    counts = [1, 2, 5, 12, 20]
    found = in_node(
        tmp_path,
        f"""import {{ GaussianNoise, noiseLevels, sampleLoop }} from "./sampler.mjs";
        const solver = {{ name: "{solver}" }}, all = [];
        for (const steps of {counts}) {{
          const generator = new GaussianNoise(3), noise = generator.draw(64), told = [];
          const fresh = () => generator.draw(64);
          const denoise = async (x, level) => x.map((v) => 0.7 * Math.sin(2 * v) + 0.2 * level);
          const drawn = await sampleLoop({{ denoise, noise, solver, steps, fresh, onStep: async (s) => told.push([...s.latents]) }});
          all.push({{ levels: noiseLevels(solver, steps), drawn: [...drawn], told }});
        }}
        console.log(JSON.stringify(all));""",
    )
    for steps, js in zip(counts, found, strict=True):
        scheduler = with_steps(SOLVERS[solver](), steps)
        generator = torch.Generator().manual_seed(3)
        latents = torch.randn(64, generator=generator)
        assert torch.allclose(torch.tensor(js["levels"], dtype=torch.float32), scheduler.sigmas, atol=1e-6)
        for i, timestep in enumerate(scheduler.timesteps):
            sigma = scheduler.sigmas[i]
            clean = 0.7 * torch.sin(2 * latents) + 0.2 * sigma
            more = {"variance_noise": torch.randn(64, generator=generator)} if solver == "sde-dpm++" else {}
            latents = scheduler.step((latents - clean) / sigma, timestep, latents, **more).prev_sample
            assert (torch.tensor(js["told"][i]) - latents).abs().max() < 1e-4, (steps, i)
        assert js["drawn"] == js["told"][-1]


def test_sampling_ends_at_the_detail_with_the_expected_numbers(tmp_path):
    found = in_node(
        tmp_path,
        """import { sampleLoop } from "./sampler.mjs";
        const seen = [], noise = new Float32Array(16).fill(1);
        const drawn = await sampleLoop({ noise, solver: { name: "euler" }, steps: 4, detail: 0.5,
          denoise: async (x, level) => { seen.push(level); return x.map(() => level); } });
        console.log(JSON.stringify({ seen, last: drawn[0] }));""",
    )
    assert found == {"seen": [1, 0.75, 0.5], "last": 0.5}


# --- in the browser ---------------------------------------------------------------------------------------------------


@pytest.fixture
def runtime():
    folder = PAGE.parent.parent / "out" / "page" / "ort"
    if not (folder / runtime_files.FILES).is_file():
        pytest.skip("onnxruntime-web is not there: `make page` fetches it")
    return folder


def site(folder, runtime, source, **options):
    """A folder with the engine and a model's files, and nothing of the page's own."""
    pytest.importorskip("onnxruntime", reason="pip install 'ijepa-viz[page]'")
    from ijepa_viz.cli.onnx_export import export_onnx

    folder.mkdir()
    export_onnx(str(source), folder / "models", **options)
    (folder / "ort").symlink_to(runtime)
    for name in SCRIPTS:
        shutil.copy(PAGE / name, folder)
    return folder


def opened(chromium, url):
    page = chromium.new_page()
    page.outside, page.errors = watch(page, int(url.split(":")[2].split("/")[0])), []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
    page.goto(url)
    page.evaluate(
        """async () => {
          const module = await import("./engine.js");
          window.progress = [];
          window.engine = await module.createEngine({ backend: "wasm", onProgress: (...done) => progress.push(done) });
          window.rgba = (text) => Uint8ClampedArray.from(atob(text), (c) => c.charCodeAt(0));
          window.plain = (value) => ArrayBuffer.isView(value) ? [...value] : Array.isArray(value) ? value.map(plain)
            : value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v)])) : value;
        }"""
    )
    return page


def ask(page, call, image, hidden, other=None, **options):
    """A call of the engine, with pictures (H, W, 3) uint8."""
    return page.evaluate(
        """async ({ call, image, hidden, other, options }) =>
          plain(await engine[call]({ image: rgba(image), hidden, other: other && rgba(other), ...options }))""",
        {"call": call, "image": _rgba(image), "hidden": hidden, "other": None if other is None else _rgba(other), "options": options},
    )  # fmt: skip


def _rgba(image):
    return base64.b64encode(np.dstack([image, np.full(image.shape[:2], 255, np.uint8)]).tobytes()).decode()


def pictures(found, key="images"):
    height, width = found["size"]
    return torch.tensor(found[key]).view(-1, height, width, 4)[..., :3].permute(0, 3, 1, 2)


def as_bytes(images):
    return (images.clamp(0, 1) * 255).round()


def hole_masks(grid, hidden):
    inside = np.zeros(grid[0] * grid[1], bool)
    inside[hidden] = True
    return Masks.from_array(inside.reshape(grid))


@pytest.mark.browser
@pytest.mark.parametrize("token_solver", [None, "sde-dpm++"])
def test_the_whole_chain_equals_pythons_in_one_stage_and_two(chromium, runtime, model, tmp_path, token_solver):
    decoder = random_decoder(model, "token-vit")
    if token_solver is not None:
        decoder.pipeline.register_modules(token_scheduler=SOLVERS[token_solver]())
        decoder.config = replace(decoder.config, token_temperature=1.3)
    save_folder(model, tmp_path / "model")
    save_decoder(decoder, tmp_path / "model" / "decoder")
    folder = site(tmp_path / "site", runtime, tmp_path / "model", weights="float32")
    generator = np.random.default_rng(0)
    image, other = generator.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    hidden = [2, 5, 6, 9, 15]
    masks = hole_masks(model.grid, hidden)
    prediction, another = predict(model, image, masks), predict(model, other, masks)
    moved = prediction.replaced(another.predicted)
    cases = [
        ({}, prediction, {}),
        ({"seed": 11, "steps": 1}, prediction, {"seed": 11, "steps": 1}),
        ({"guidance": 2.5, "steps": 3}, prediction, {"guidance": 2.5, "steps": 3}),
        ({"source": "target"}, prediction, {"source": "target"}),
        ({"source": "nothing"}, prediction, {"conditioning": "null"}),
        ({"source": "another"}, moved, {}),
    ]
    with served(folder) as url:
        page = opened(chromium, url)
        tokens = ask(page, "predict", image, hidden)
        for name, expected in (
            ("predicted", prediction.predicted),
            ("target", prediction.target),
            ("cosine", prediction.cosine),
        ):
            assert (torch.tensor(tokens[name]) - expected.flatten()).abs().max() < 1e-4, name
        assert tokens["visible"] == [i for i in range(16) if i not in hidden]
        with torch.no_grad():
            context = model.encode_context(normalise(to_pixels(image, 32))[None], masks)
        context = torch.nn.functional.layer_norm(context, (32,))
        assert (torch.tensor(tokens["context"]) - context.flatten()).abs().max() < 1e-4
        for options, own, arguments in cases:
            drawn = ask(
                page,
                "sample",
                image,
                hidden,
                other if options.get("source") == "another" else None,
                samples=2,
                **options,
            )
            expected = as_bytes(decoder.sample(own, samples=2, **arguments).on(own.image))
            assert (pictures(drawn) - expected).abs().max() <= 2, options
        kept = ask(page, "sample", image, hidden, samples=1, keepSteps=True)
        assert kept["levels"][0] == 1
        assert kept["levels"][-1] == 0
        assert kept["steps"][-1] == kept["images"]
        assert len(kept["steps"]) == len(kept["levels"]) == len(kept["expected"]) + 1 == 5
        # The same graphs by another solver: another way to a picture of the same hole.
        euler = pictures(ask(page, "sample", image, hidden, samples=1, solver="euler"))[0]
        assert (euler[:, 8:16, :8] == torch.from_numpy(image).permute(2, 0, 1)[:, 8:16, :8]).all()
        check_answers_and_refusals(page, image)
        assert page.evaluate("progress.at(-1)[0] === progress.at(-1)[1]")
        assert page.errors == []
        assert page.outside == []
        page.close()


def check_answers_and_refusals(page, image):
    """Previews, cancelling, and calls that cannot be answered."""
    found = page.evaluate(
        """async (image) => {
          const named = (call) => call.then(() => "answered", (error) => error.name);
          const options = { image: rgba(image), hidden: [5, 6], samples: 2, steps: 8 };
          const steps = [];
          const first = named(engine.sample({ ...options, steps: 200 }));
          const second = engine.sample({ ...options, onStep: (s) => steps.push([s.step, s.steps, s.level, s.expected.length]) });
          const tokens = named(engine.predict(options)); // answered while samples are drawn
          const done = await second;
          const superseded = await first;
          const long = named(engine.sample({ ...options, steps: 500 }));
          setTimeout(() => engine.cancel(), 50);
          const began = performance.now();
          const cancelled = await long;
          const without = await named(engine.reconstruct(options));
          const wrong = [await named((async () => engine.predict({ image: new Uint8ClampedArray(4), hidden: [1] }))()),
                         await named(engine.sample({ ...options, hidden: [16] })), await named(engine.sample({ ...options, samples: 0 }))];
          const alive = await named(engine.sample(options));
          return { steps, superseded, cancelled, tokens: await tokens, without, wrong, alive, images: done.images.length };
        }""",
        _rgba(image),
    )
    assert found["superseded"] == found["cancelled"] == "EngineCancelled"
    assert found["tokens"] == found["alive"] == "answered"
    assert found["without"] == "Error"
    assert found["wrong"] == ["TypeError", "RangeError", "Error"]
    assert [s[0] for s in found["steps"]] == list(range(9))  # first a sketch, of two stages
    assert found["steps"][0][1] == 8
    assert found["steps"][-1][2] == 0
    assert found["images"] == found["steps"][0][3] == 2


@pytest.mark.browser
def test_what_is_missing_is_said(chromium, tmp_path):
    for name in SCRIPTS:
        shutil.copy(PAGE / name, tmp_path)
    with served(tmp_path) as url:
        page = chromium.new_page()
        page.goto(url)
        found = page.evaluate(
            """async () => {
              const { createEngine, missingHere } = await import("./engine.js");
              const cause = (call) => call.then(() => null, (error) => [error.name, error.missing, error.message]);
              const models = await cause(createEngine({ backend: "wasm" }));
              const inlined = await cause(createEngine({ inlined: {} }));
              const here = missingHere();
              WebAssembly.validate = () => false;
              return { models, inlined, here, simd: await cause(createEngine()) };
            }"""
        )
        page.close()
    assert found["here"] is None
    assert found["models"][:2] == ["EngineError", "models"]
    assert "manifest.json is not there: the server answers 404" in found["models"][2]
    assert found["inlined"][:2] == ["EngineError", "models"]
    assert found["simd"][:2] == ["EngineError", "simd"]


@pytest.mark.browser
@pytest.mark.slow
def test_samples_equal_pythons_within_2_of_255_on_20_cases(chromium, runtime, tmp_path):
    """Exact weights within 2 at every pixel; the weights of `make page` within 2 on average in every case."""
    model, decoder = load_model("menagerie-tiny"), load_decoder("menagerie-tiny")
    cases = list(parity_cases())
    expected = [drawn_by_python(model, decoder, case, 3) for case in cases]
    for weights in ("float32", "mixed"):
        autoencoder = {"autoencoder": "menagerie-tiny-mae"} if weights == "float32" else {}
        folder = site(tmp_path / weights, runtime, "menagerie-tiny", weights=weights, **autoencoder)
        with served(folder) as url:
            page = opened(chromium, url)
            found = gaps([drawn_by_page(page, decoder, case, 3) for case in cases], expected)
            print(weights, found)
            assert found["max" if weights == "float32" else "worst_case_mean"] <= WANTED
            if autoencoder:
                check_reconstruction(page)
            assert page.errors == []
            assert page.outside == []
            page.close()


def check_reconstruction(page):
    from train.objectives.objective import load_objective

    objective = load_objective("menagerie-tiny-mae")
    for case in parity_cases(4):
        image, hidden, masks = case.image, case.hidden, case.masks((8, 8))
        pixels = normalise(to_pixels(image, 64))[None]
        patches = objective.reconstruct(pixels, masks)[0, 0].view(-1, 3, 8, 8)
        expected = to_pixels(image, 64).clone()
        for index, patch in zip(hidden, patches, strict=True):
            row, col = index // 8 * 8, index % 8 * 8
            expected[:, row : row + 8, col : col + 8] = denormalise(patch)
        found = torch.tensor(ask(page, "reconstruct", image, hidden)).view(64, 64, 4)[..., :3].permute(2, 0, 1)
        assert (found - as_bytes(expected)).abs().max() <= 1


@pytest.mark.browser
@pytest.mark.slow
def test_everything_inside_one_file_works_from_the_disk(chromium, runtime, tmp_path):
    torch.manual_seed(0)
    model = IJEPA(TINY).eval()
    decoder = random_decoder(model)
    save_folder(model, tmp_path / "model")
    save_decoder(decoder, tmp_path / "model" / "decoder")
    folder = site(tmp_path / "site", runtime, tmp_path / "model", weights="float32")
    held = {}
    names = [*SCRIPTS[1:], "ort/files.json", f"ort/{runtime_files.SCRIPTS[0]}", f"ort/{runtime_files.BINARIES[0]}.gz"]
    for name in [*names, *(f"models/{p.name}" for p in (folder / "models").iterdir())]:
        data = (folder / name).read_bytes()
        held[name] = data.decode() if name.endswith((".js", ".mjs", ".json")) else base64.b64encode(data).decode()
    engine = (folder / "engine.js").read_text()
    script = f"{engine}\nwindow.createEngine = createEngine;".replace("</script", "<\\/script")
    file = tmp_path / "alone.html"
    text = json.dumps(held).replace("</", "<\\/")
    file.write_text(
        f'<!doctype html><title>t</title><script type="application/json" id="files">{text}</script>'
        f'<script type="module">{script}</script>'
    )
    page = chromium.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    drawn = page.evaluate(
        """async (image) => {
          const inlined = JSON.parse(document.getElementById("files").textContent);
          const engine = await createEngine({ inlined });
          const bytes = Uint8ClampedArray.from(atob(image), (c) => c.charCodeAt(0));
          const { size, images } = await engine.sample({ image: bytes, hidden: [5, 6], samples: 2, seed: 4 });
          return { size, images: images.map((one) => [...one]) };
        }""",
        _rgba(image),
    )
    prediction = predict(model, image, hole_masks(model.grid, [5, 6]))
    expected = as_bytes(decoder.sample(prediction, samples=2, seed=4).on(prediction.image))
    assert (pictures(drawn) - expected).abs().max() <= 2
    assert [url for url in asked if not url.startswith(("blob:", file.as_uri()))] == []
    assert page.errors == []
    page.close()


def test_the_runtime_is_pinned_and_comes_completely_or_not_at_all(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime", reason="pip install 'ijepa-viz[page]'")
    kept = tmp_path / "cache" / f"onnxruntime-web-{runtime_files.VERSION}.tgz"
    monkeypatch.setenv("IJEPA_VIZ_CACHE", str(kept.parent))
    kept.parent.mkdir()
    kept.write_bytes(b"another archive")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert runtime_files.main([str(tmp_path / "ort")]) == 1
    assert "there is no npm here" in capsys.readouterr().err
    npm = tmp_path / "npm"
    npm.write_text('#!/bin/sh\nwhile [ "$1" != --pack-destination ]; do shift; done\necho other > "$2/package.tgz"\n')
    npm.chmod(0o755)
    assert runtime_files.main([str(tmp_path / "ort")]) == 1
    assert "another checksum" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "npm"]
