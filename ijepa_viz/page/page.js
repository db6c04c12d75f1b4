// The live page: first a picture and answers from before, then the model, then every section that is looked at.

import { Asker } from "./ask.js";
import { chainSection } from "./chain.js";
import { controlsSection, generativeSection } from "./compare.js";
import { createEngine } from "./engine.js";
import { inlined, readJSON } from "./files.js";
import { filmsSection } from "./films.js";
import { anyBlock, gameSection } from "./game.js";
import { masksSection } from "./masks.js";
import { generator, hiddenText, multiblock } from "./multiblock.js";
import { navigation } from "./navigation.js";
import { paintSection, SOURCES } from "./paint.js";
import { OWN, Pictures } from "./pictures.js";
import { Precomputed } from "./precomputed.js";
import { Store, fromAddress, toAddress } from "./store.js";

// Masks of the painter's "Draw one for me".
const PAPER_MASKS = 64;

const part = (name) => document.querySelector(`[data-part=${name}]`);

async function start() {
  const [site, pictures] = await Promise.all([readJSON("data/site.json"), Pictures.load()]);
  document.documentElement.style.setProperty("--shape", site.grid[1] / site.grid[0]);
  const { grid, first } = site, count = grid[0] * grid[1];
  const found = fromAddress(location.hash, { pictures: pictures.ids(), sources: Object.keys(SOURCES), count });
  const store = new Store({
    grid, mask: found.mask || first.mask, seq: 0, image: "", error: "", uploads: true, upload: "", own: 0,
    paper_masks: Array.from({ length: PAPER_MASKS }, (_, seed) => hiddenText(multiblock(1, grid, generator(seed))[0], grid)),
    picture: found.picture || first.picture, seed: found.seed ?? 0, source: found.source || "prediction", steps: 0, guidance: 1,
    phase: "loading", progress: 0, busy: false, words: "", preview: null, result: null, tokens: null,
  });
  store.set("image", pictures.canvas(store.get("picture")).toDataURL());
  const asker = new Asker(store, pictures), again = () => store.set("seq", store.get("seq") + 1);
  const choose = (id, renewed = false) => {
    if (store.get("picture") === id && !renewed) return;
    store.set("picture", id);
    if (renewed) store.set("own", store.get("own") + 1);
    store.set("image", pictures.canvas(id).toDataURL());
    again();
  };
  paintSection(document.getElementById("paint"), store, pictures, { choose, again });
  chainSection(document.getElementById("chain"), store, pictures, () => asker.engine);
  controlsSection(document.getElementById("controls"), store, asker);
  generativeSection(document.getElementById("generative"), store, asker, pictures);
  filmsSection(document.getElementById("films"), site.films).catch((error) => store.set("error", error.message));
  const show = navigation();
  masksSection(document.getElementById("masks"), grid, (mask) => { store.set("mask", mask); again(); show("paint"); });
  store.on("change:seq", () => asker.ask());
  store.on("change:error", (text) => { part("problem").textContent = text; });
  share(store);
  part("notice").textContent = found.problem;
  document.documentElement.dataset.painted = "yes";
  if (new URLSearchParams(location.search).has("test")) globalThis.livePage = { store, asker, pictures };
  await load(asker, store, pictures, site, grid);
}

// Answers from before are there at once; the model takes over when it is loaded.
async function load(asker, store, pictures, site, grid) {
  const loading = createEngine({
    base: "./models/", inlined: inlined() ?? undefined, backend: inlined() ? "wasm" : "auto",
    onProgress: (done, total) => { store.set("progress", total ? Math.min(1, done / total) : 0); status(store); },
  });
  loading.catch(() => {});  // told below, when the answers from before are there
  const before = await Precomputed.load();
  if (store.get("seed") === 0 && before.knows(store.get("picture")) && before.index.holes.includes(store.get("mask"))) {
    asker.engine = before;
    await asker.ask();
    asker.engine = null;
  } else {
    store.set("words", "");
    store.set("busy", true);
  }
  const choices = (engine) => (engine.precomputed ? before.index.pictures : pictures.entries.filter((entry) => entry.kind === "scene").map((entry) => entry.id));
  let game = null;
  const ready = (engine, phase) => {
    asker.engine = engine;
    store.set("phase", phase);
    document.documentElement.dataset.phase = phase;
    game ||= gameSection(document.getElementById("game"), pictures, grid, { engine: () => asker.engine, choices });
    if (globalThis.livePage) globalThis.livePage.game = game.store;
    part("start").disabled = false;
    asker.ask();
  };
  try {
    const engine = await loading;
    ready(engine, "ready");
    status(store, engine);
  } catch (error) {
    if (!error.missing) console.warn(error);  // no cause that is known of browsers
    status(store, null, error);
    // Only what was answered before can be shown: another picture or hole of a link cannot.
    if (!before.knows(store.get("picture"))) {
      store.set("picture", before.index.pictures[0]);
      store.set("image", pictures.canvas(before.index.pictures[0]).toDataURL());
    }
    store.set("seed", 0);  // of all answers from before
    ready(before, "precomputed");
  }
}

function status(store, engine = null, error = null) {
  const chip = part("status");
  if (error) {
    chip.textContent = "answers from before";
    part("notice").textContent = `${error.message} So the model does not run here: you see answers that were computed before, for the first ` +
      "pictures of the row; a hole is answered by the nearest one that was computed. A current Chrome, Edge, Firefox or Safari on a device with 1 GB of free memory runs the model.";
  } else if (engine) {
    const how = engine.backend === "webgpu" ? "WebGPU" : `WebAssembly, ${engine.threads} thread${engine.threads === 1 ? "" : "s"}`;
    chip.textContent = "model ready";
    chip.title = `${engine.manifest.model}, by ${how}${engine.note ? `: ${engine.note}` : ""}`;
  } else chip.textContent = `loading the model: ${Math.round(100 * store.get("progress"))} %`;
}

// The address holds picture, hole and seed at all times; the button copies it.
function share(store) {
  const told = part("shared"), button = part("share");
  const write = () => {
    const own = store.get("picture") === OWN;
    const text = own ? "" : toAddress(Object.fromEntries(["picture", "mask", "seed", "source"].map((name) => [name, store.get(name)])));
    history.replaceState(null, "", `${location.pathname}${location.search}${text}`);
    told.textContent = "";
  };
  for (const name of ["result", "picture"]) store.on(`change:${name}`, () => { if (store.get("result") || name === "picture") write(); });
  button.onclick = async () => {
    if (store.get("picture") === OWN) { told.textContent = "Your own picture stays in this browser: no link can hold it."; return; }
    write();
    try {
      await navigator.clipboard.writeText(location.href);
      told.textContent = "Link copied.";
    } catch {  // no permission, or a page opened from a file
      told.replaceChildren("Copy this link: ", Object.assign(document.createElement("input"), { value: location.href, readOnly: true, ariaLabel: "Link to this hole" }));
      told.querySelector("input").select();
    }
  };
  addEventListener("hashchange", () => location.reload());
}

start().catch((error) => {
  console.error(error);
  part("problem").textContent = `The page could not start: ${error.message} Reload it; if that does not help, it was copied without all of its files.`;
});
