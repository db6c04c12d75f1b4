// Paint and see: the pictures to choose from, the painter, the truth and six pictures of what is expected.

import { cropPanel, element, paintingSurface, readPicture } from "./painter.js";
import { SAMPLES } from "./ask.js";
import { OWN } from "./pictures.js";
import { LINE, pictureTile } from "./tiles.js";

// Thumbnails at a time.
const SHOWN = matchMedia("(max-width: 720px)").matches ? 5 : 8;

export const SOURCES = {
  prediction: "the model's prediction", another: "the prediction for another picture", nothing: "nothing", target: "the hidden part itself",
};

// Fills the section; choose(id) takes another picture, again() asks again.
export function paintSection(section, store, pictures, { choose, again }) {
  const find = (name) => section.querySelector(`[data-part=${name}]`);
  let surface = null;
  const crop = async (file) => {
    const image = await readPicture(file);
    cropPanel(surface.left, image, (part) => {
      if (part) { pictures.take(image, part); choose(OWN, true); }
      surface.canvas.focus({ preventScroll: true });
    }, pictures.size[1] / pictures.size[0]);
  };
  const takeFile = (file) => {
    surface.complain("");
    crop(file).catch((error) => surface.complain(`${file.name}: ${error.message}`));
  };
  surface = paintingSurface(store, find("painter"), { opaque: true, take: crop });
  pictureRow(find("row"), store, pictures, choose, takeFile);
  for (const type of ["dragover", "drop"]) {
    section.addEventListener(type, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      if (type === "drop" && event.dataTransfer.files[0]) takeFile(event.dataTransfer.files[0]);
    });
  }
  results(find("cells"), find("words"), store, pictures);
  controls(section, store, again);
  return surface;
}

function pictureRow(row, store, pictures, choose, takeFile) {
  let first = 0;
  const picks = element("div", { className: "picks" });
  const turn = (by, label, words) => element("button", {
    type: "button", className: "turn", textContent: label, title: words, ariaLabel: words,
    onclick: () => { first = (first + by + pictures.entries.length) % pictures.entries.length; show(); },
  });
  const input = element("input", { type: "file", accept: "image/*", hidden: true, ariaLabel: "Your own picture" });
  input.onchange = () => { const [file] = input.files; input.value = ""; if (file) takeFile(file); };
  const own = element("button", { type: "button", className: "own", textContent: "+ your own", onclick: () => input.click(),
    title: "A JPEG, PNG or WebP; you choose the part. It stays in this browser." });
  row.append(turn(-SHOWN, "‹", "Earlier pictures"), picks, turn(SHOWN, "›", "More pictures"), own, input);

  function show() {
    const chosen = store.get("picture"), focused = [...picks.children].indexOf(document.activeElement);
    const ids = Array.from({ length: Math.min(SHOWN, pictures.entries.length) }, (_, i) => pictures.entries[(first + i) % pictures.entries.length].id);
    if (pictures.own) ids[ids.length - 1] = OWN;
    picks.replaceChildren(...ids.map((id) => {
      const name = pictures.entry(id).name, canvas = pictures.canvas(id);
      const copy = element("canvas", { width: canvas.width, height: canvas.height });
      copy.getContext("2d").drawImage(canvas, 0, 0);
      const button = element("button", { type: "button", className: "pick", title: name, ariaLabel: name, onclick: () => choose(id) }, copy);
      button.setAttribute("aria-pressed", String(id === chosen));
      return button;
    }));
    if (focused >= 0) picks.children[focused]?.focus({ preventScroll: true });
  }
  // A picture of a link, or of the game, is shown in the row.
  const onPicture = () => {
    const at = pictures.cells.get(store.get("picture"));
    const place = (at - first + pictures.entries.length) % pictures.entries.length;
    if (at !== undefined && place >= SHOWN) first = at - (at % SHOWN);
    show();
  };
  store.on("change:picture", onPicture);
  store.on("change:own", show);
  onPicture();
}

function results(cells, words, store, pictures) {
  const tiles = Array.from({ length: SAMPLES }, (_, i) => pictureTile(String(i + 1)));
  const cover = element("button", { type: "button", className: "cover", textContent: "Reveal the truth" });
  const truth = pictureTile("the truth"), hide = element("button", { type: "button", className: "small", textContent: "cover it" });
  let open = false;
  truth.classList.add("truth");
  truth.querySelector(".place").append(cover);
  truth.label.append(" ", hide);
  cells.dataset.testid = "samples";
  cells.append(truth, ...tiles);
  cover.onclick = () => { open = true; draw(); hide.focus({ preventScroll: true }); };
  hide.onclick = () => { open = false; draw(); cover.focus({ preventScroll: true }); };

  function draw() {
    const result = store.get("result") || store.get("preview"), grid = store.get("grid");
    const finished = Boolean(store.get("result"));
    tiles.forEach((tile, i) => {
      if (!result?.images[i]) return tile.clear(result ? "not computed" : "not drawn yet");
      const outline = { hole: result.mask, grid, stroke: LINE[result.source] };
      tile.show(result.images[i], `Picture ${i + 1}, drawn from ${SOURCES[result.source]}`, outline);
    });
    const shown = result && { hole: result.mask, grid, stroke: LINE.truth };
    if (open && shown) truth.show(pictures.shown(result.picture), "The truth: the picture as it is", shown);
    else truth.clear("The truth is covered");
    cover.hidden = open && Boolean(shown);
    cover.disabled = !finished;
    hide.hidden = !cover.hidden;
    cells.setAttribute("aria-busy", String(store.get("busy")));
    cells.dataset.shown = finished ? store.get("seq") : "";
    words.textContent = caption();
  }

  function caption() {
    const result = store.get("result"), tokens = store.get("tokens");
    if (store.get("words")) return store.get("words");
    if (!result) {
      const preview = store.get("preview");
      if (store.get("phase") === "loading") return `The model is on its way (${Math.round(100 * store.get("progress"))} %); it answers as soon as it is there.`;
      return !store.get("busy") ? "" : !preview ? "Predicting …" : preview.step ? `Drawing: step ${preview.step} of ${preview.of} …` : "A first sketch: the mean of what fits …";
    }
    const many = result.images.length;
    let text = {
      prediction: `${many} pictures that fit what the model expects here. What all share is predicted or the decoder's own (see Controls); where they differ, the prediction leaves it open.`,
      another: `A control: drawn from what the model expects in another picture (${pictures.entry(result.otherPicture).name}).`,
      nothing: "A control: the decoder draws on its own, told nothing.",
      target: "Drawn from the target encoder's tokens, which have seen the hidden part: the best that this decoder can do.",
    }[result.source];
    if (store.get("steps") === 1 && (store.get("phase") === "ready" || result.source === "prediction")) text = `One step: the mean of everything that fits, which is a blur${(result.guidance ?? 1) === 1 ? "" : ", pushed further by the guidance"}.`;
    if (tokens?.cosine && result.source === "prediction") {
      const mean = tokens.cosine.reduce((a, b) => a + b, 0) / tokens.cosine.length;
      text += ` Cosine of predicted and target tokens: ${mean.toFixed(2)}.`;
    }
    if (pictures.entry(result.picture).kind !== "scene" && result.source === "prediction") {
      text += " The model has seen drawn scenes only: this picture is out of its world.";
    }
    if (store.get("phase") !== "ready") text = `Computed before. ${text}`;
    return text;
  }
  for (const name of ["result", "preview", "tokens", "busy", "words", "phase", "progress"]) store.on(`change:${name}`, draw);
  for (const name of ["mask", "picture"]) store.on(`change:${name}`, () => { open = false; draw(); });
  draw();
}

function controls(section, store, again) {
  // What a pointer reads as a title, for keys and fingers.
  const tip = section.querySelector("[data-part=tip]");
  for (const type of ["focusin", "click"]) {
    section.querySelector(".results").addEventListener(type, (event) => {
      const words = event.target.closest(".sources [title], .knobs [title]")?.title;
      if (words) tip.textContent = words;
    });
  }
  const act = (name, value) => { store.set(name, value); again(); };
  for (const input of section.querySelectorAll("input[name=source]")) {
    input.onchange = () => act("source", input.value);
    const show = () => { input.checked = store.get("source") === input.value; };
    store.on("change:source", show);
    show();
  }
  const find = (name) => section.querySelector(`[data-part=${name}]`);
  const seed = find("seed"), once = find("once"), guidance = find("guidance"), shown = find("guidance-shown");
  const showSeed = () => { seed.textContent = `noise ${store.get("seed")}`; };
  find("noise").onclick = () => act("seed", (store.get("seed") + SAMPLES) % 1e9);
  store.on("change:seed", showSeed);
  showSeed();
  once.onchange = () => act("steps", once.checked ? 1 : 0);
  guidance.oninput = () => { shown.textContent = Number(guidance.value).toFixed(1); };
  guidance.onchange = () => act("guidance", Number(guidance.value));
  store.on("change:phase", () => {
    const less = store.get("phase") === "precomputed";
    guidance.disabled = find("noise").disabled = less;
  });
}
