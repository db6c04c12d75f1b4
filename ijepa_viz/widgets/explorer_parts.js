// Parts of the PredictionExplorer: layout, row of pictures, tiles of tokens, story, words explained.

const EXPLORER_STYLE = `
.ijv-frame { container: ijv / inline-size; width: 100%; }
.ijv.explorer { --cell: 100px; display: grid; grid-template-columns: minmax(0, 1fr); gap: 10px 16px; align-items: start; }
.ijv.explorer > .wide { grid-column: 1 / -1; min-width: 0; }
.ijv.explorer .painting { position: relative; width: 100%; max-width: 362px; }
.ijv.explorer canvas[role=application] { width: 100%; height: auto; box-sizing: border-box; display: block; }
.ijv.explorer .bar, .ijv.explorer .soft { max-width: none; }
.ijv.explorer .results, .ijv.explorer .controls { min-width: 0; }
.ijv.explorer label { min-width: 0; max-width: 100%; } .ijv.explorer select { min-width: 0; flex: 0 1 auto; }
.ijv.explorer .row { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; }
.ijv.explorer .row .pick { padding: 2px; width: 54px; height: 54px; font-size: .8em; line-height: 1.1; overflow: hidden; }
.ijv.explorer .row .pick img { width: 46px; height: 46px; display: block; object-fit: cover; border-radius: 2px; }
.ijv.explorer .row .pick[aria-pressed=true] { box-shadow: 0 0 0 2px var(--focus); }
.ijv.explorer .row .last { margin-left: auto; }
.ijv.explorer .cells { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(var(--cell), 100%), 1fr)); gap: 6px; }
.ijv.explorer .flow-in { display: contents; }
.ijv.explorer .cell { display: flex; flex-direction: column; align-items: center; gap: 2px; min-width: 0; }
.ijv.explorer .place { position: relative; display: block; width: 100%; aspect-ratio: var(--shape, 1); background: var(--empty);
  border: 1px solid var(--line); border-radius: 4px; box-sizing: border-box; }
.ijv.explorer .place > img { width: 100%; height: 100%; display: block; image-rendering: pixelated; border-radius: 3px; }
.ijv.explorer .place > svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; pointer-events: none; }
.ijv.explorer .cover { position: absolute; inset: 0; width: 100%; height: 100%; border: 0; color: #fff; font-weight: 600;
  background: repeating-linear-gradient(45deg, #47474d 0 9px, #55555b 9px 18px); }
.ijv.explorer .truth .place { border: 2px solid var(--ink); }
.ijv.explorer .under { font-size: .86em; color: var(--soft); line-height: 1.5em; height: 1.5em; white-space: nowrap; }
.ijv.explorer .under button { padding: 0 6px; line-height: 1.3; }
.ijv.explorer .caption { min-height: 2.8em; }
.ijv.explorer .crop { position: absolute; inset: 0; z-index: 2; background: var(--paper); min-height: 440px; }
.ijv.explorer .game { min-height: 24em; box-sizing: border-box; border: 2px solid var(--focus); border-radius: 6px; padding: 8px; }
.ijv.explorer .game p { margin: 0 0 6px; }
.ijv.explorer .game label { white-space: nowrap; } .ijv.explorer .game input { min-width: 0; width: 16em; }
.ijv.explorer .sides { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; }
.ijv.explorer .side { min-width: 0; display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 4px; align-items: start; }
.ijv.explorer .side > :not(.place) { grid-column: 1 / -1; }
.ijv.explorer .side.is-model { outline: 3px solid #009E73; outline-offset: 3px; border-radius: 4px; }
.ijv.explorer .answer { display: flex; gap: 12px; align-items: center; flex-wrap: wrap; margin-top: 8px; }
.ijv.explorer .answer .place { width: min(120px, 28%); } .ijv.explorer .answer .picked { width: min(90px, 22%); max-height: 120px; object-fit: contain; image-rendering: pixelated; }
.ijv.explorer .story .title { margin: 4px 0; font-size: 1.1em; font-weight: 600; }
.ijv.explorer .stations { display: flex; flex-wrap: wrap; gap: 12px; margin: 0; padding: 0; list-style: none; }
.ijv.explorer .stations li { flex: 1 1 150px; margin: 0; border-top: 3px solid var(--context); padding-top: 4px; }
.ijv.explorer .stations li:last-child { flex: 2 1 304px; }
.ijv.explorer .stations p { margin: 4px 0 0; font-size: .93em; }
.ijv.explorer .stations .tiles { display: flex; flex-wrap: wrap; gap: 4px; min-height: 72px; }
.ijv.explorer .stations img { width: 72px; height: 72px; object-fit: contain; box-sizing: border-box; image-rendering: pixelated; background: var(--empty);
  border: 1px solid var(--line); border-radius: 4px; }
.ijv.explorer .stale { opacity: .55; }
.ijv.explorer .words { position: relative; }
.ijv.explorer .words > button { border: 0; border-bottom: 2px dotted var(--focus); border-radius: 0; padding: 0 1px; margin-right: 10px; cursor: help; }
.ijv.explorer .words > [role=tooltip] { display: none; position: absolute; left: 0; bottom: 100%; z-index: 3; max-width: 34em; padding: 8px 10px;
  color: var(--paper); background: var(--ink); border-radius: 4px; }
.ijv.explorer .words > button:hover + [role=tooltip], .ijv.explorer .words > button:focus + [role=tooltip] { display: block; }
@container ijv (max-width: 519px) {
  .ijv.explorer { gap: 6px; padding: 4px; }
  .ijv.explorer .row:not(:has(.row)) { flex-wrap: nowrap; overflow-x: auto; padding: 3px; }
  .ijv.explorer .row .row { flex: 1 1 100%; }
  .ijv.explorer .row .pick { flex: none; width: 46px; height: 46px; } .ijv.explorer .row .pick img { width: 38px; height: 38px; }
  .ijv.explorer .row .last { margin-left: 0; }
  .ijv.explorer .painting { max-width: none; display: flex; flex-wrap: wrap; gap: 4px; align-items: center; }
  .ijv.explorer .painting > .bar { display: contents; }
  .ijv.explorer .painting > .bar button { padding: 2px 5px; }
  .ijv.explorer .painting > details[open], .ijv.explorer .painting > .status, .ijv.explorer .painting > [role=alert] { flex: 1 1 100%; max-width: none; }
  .ijv.explorer .painting > canvas { order: 1; width: min(100%, 34vh); margin: 0 auto; }
  .ijv.explorer .painting > .status, .ijv.explorer .painting > [role=alert] { order: 2; margin: 0; }
  .ijv.explorer .painting > .crop { order: 3; }
  .ijv.explorer .cells { grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 4px; }
  .ijv.explorer .cover { font-size: .8em; padding: 0; }
  .ijv.explorer .sides { grid-template-columns: 1fr; }
}
@container ijv (min-width: 520px) {
  .ijv.explorer { grid-template-columns: minmax(220px, 2fr) minmax(0, 3fr); grid-template-rows: auto auto 1fr; }
  .ijv.explorer > .results { grid-column: 2; grid-row: 2 / span 2; }
  .ijv.explorer > .controls { grid-column: 1; grid-row: 3; }
}
@container ijv (min-width: 880px) { .ijv.explorer { --cell: 160px; grid-template-columns: 362px minmax(0, 1fr); } }
@container ijv (min-width: 1240px) { .ijv.explorer { --cell: 205px; } }
.ijv-frame:fullscreen { overflow: auto; background: Canvas; }
.ijv-frame:fullscreen > .ijv { min-height: 100%; box-sizing: border-box; align-content: start; border-radius: 0; }
.ijv.explorer.projector { font-size: 21px; }
@container ijv (min-width: 520px) { .ijv.explorer.projector { --cell: 150px; grid-template-columns: minmax(220px, 2fr) minmax(0, 3fr); } }
@container ijv (min-width: 880px) { .ijv.explorer.projector { --cell: 180px; grid-template-columns: minmax(320px, 37%) minmax(0, 1fr); } }
@container ijv (min-width: 1240px) { .ijv.explorer.projector { --cell: 205px; grid-template-columns: minmax(362px, 36%) minmax(0, 1fr); } }
.ijv.explorer.projector .painting { max-width: none; }
.ijv.explorer.projector .stations li { flex-basis: 240px; }
.ijv.explorer.projector .stations img { width: 110px; height: 110px; }
@container ijv (max-width: 1239px) {
  .ijv.explorer.projector .row .row { flex: 1 1 0 !important; min-width: 0; flex-wrap: nowrap; overflow-x: auto; padding: 3px; }
  .ijv.explorer.projector .row .pick { flex: none; font-size: .6em; }
}
@container ijv (min-width: 1240px) {
  .ijv.explorer.projector .row .pick { width: 74px; height: 74px; } .ijv.explorer.projector .row .pick img { width: 66px; height: 66px; }
}
.ijv.explorer.projector input[type=checkbox] { width: 1.1em; height: 1.1em; }
`;

const WORDS = {
  token: "A token is the list of numbers by which the encoder describes one patch, in its surroundings.",
  cosine: "The cosine says how far two tokens point in the same direction: 1 is the same direction, 0 is unrelated. All " +
    "tokens of a model share something, so compare it with the controls' cosine, not with 0.",
  guidance: "Guidance pushes each step away from what the decoder draws without any token. 1 is none; more makes samples " +
    "alike, so what they have in common is then the guidance's doing too.",
  steps: "Steps are evaluations of the decoder on the way from noise to a picture. One step gives the blurred mean of " +
    "everything that is possible, more steps give one possibility.",
};

function wordsExplained() {
  const line = element("div", { className: "words" }, "What is: ");
  for (const [word, meaning] of Object.entries(WORDS)) {
    const tip = element("span", { textContent: meaning, id: `word-${word}-${Math.random().toString(36).slice(2)}` });
    tip.setAttribute("role", "tooltip");
    const button = element("button", { type: "button", textContent: word });
    button.setAttribute("aria-describedby", tip.id);
    line.append(button, tip);
  }
  return line;
}

// Thumbnails to choose from; choose(i) and upload(file) act.
function pictureRow(model, choose, upload) {
  const row = element("div", { className: "row wide" });
  row.setAttribute("role", "group");
  row.setAttribute("aria-label", "Pictures to choose from");
  const picks = element("div", { className: "flow-in" });
  row.append(picks);
  if (model.get("uploads")) {
    const input = element("input", { type: "file", accept: "image/*", hidden: true });
    input.setAttribute("aria-label", "Your own picture");
    input.onchange = () => { const file = input.files[0]; input.value = ""; if (file) upload(file); };
    row.append(input, element("button", {
      type: "button", className: "pick", textContent: "+ your own", onclick: () => input.click(),
      title: "Choose a JPEG, PNG or WebP, or drop one anywhere on the painter",
    }));
  }
  row.show = () => {
    const at = [...picks.children].indexOf(document.activeElement), chosen = model.get("chosen");
    picks.replaceChildren(...(model.get("gallery") || []).map((entry, i) => {
      const title = i ? [entry.name, entry.kind && `of the kind ${entry.kind}`].filter(Boolean).join(", ") : "Back to the first picture";
      const button = element("button", { type: "button", className: "pick", title },
        element("img", { src: entry.picture, alt: entry.name, draggable: false }));
      button.setAttribute("aria-pressed", String(i === chosen));
      button.onclick = () => choose(i);
      return button;
    }));
    if (at >= 0) picks.children[at]?.focus();
  };
  return row;
}

// A picture with the border of the hole over it.
function place(source, words, { hole, grid, stroke } = {}) {
  const box = element("span", { className: "place" }, element("img", { src: source, alt: words, draggable: false }));
  if (stroke) box.append(border(hole, grid, stroke));
  return box;
}

// The truth: covered until it is revealed.
function truthCell(changed) {
  const cover = element("button", { type: "button", className: "cover", textContent: "Reveal the truth" });
  const box = element("span", { className: "place" }), under = element("span", { className: "under" });
  const hide = element("button", { type: "button", textContent: "hide" });
  const cell = element("span", { className: "cell truth" }, box, under);
  cell.open = false;
  cover.onclick = () => { cell.open = true; changed(); hide.focus(); };
  hide.onclick = () => { cell.open = false; changed(); cover.focus(); };
  cell.show = (source, known, outline) => {
    const open = cell.open && known && Boolean(source);
    cover.disabled = !known;
    const state = [open, open && source, JSON.stringify(outline)].join();
    if (cell.dataset.state === state) return;
    cell.dataset.state = state;
    if (open) box.replaceChildren(...place(source, "The truth: the picture as it is", outline).childNodes);
    else box.replaceChildren(cover);
    under.replaceChildren(...(open ? ["the truth ", hide] : ["the truth"]));
  };
  return cell;
}

// A place for one sample: its picture, and below it the tokens that it was drawn from.
function sampleCell(number) {
  const box = element("span", { className: "place" });
  const under = element("span", { className: "under", textContent: String(number) });
  under.setAttribute("aria-hidden", "true");
  const cell = element("span", { className: "cell" }, box, under);
  let image = null, tile = null;
  cell.show = (source, words, outline, tiled, tokens) => {
    if (!source) {  // not drawn yet: the place stays
      image = null;
      box.replaceChildren();
      delete box.dataset.box;
    } else {
      image ||= element("img", { draggable: false });
      if (image.src !== source) image.src = source;
      image.alt = words;
      const state = JSON.stringify(outline);
      if (box.dataset.box !== state) {
        box.dataset.box = state;
        box.replaceChildren(image, ...(outline.stroke ? [border(outline.hole, outline.grid, outline.stroke)] : []));
      }
    }
    // While the samples are being drawn their tokens are not known: the place stays, empty.
    if (!tiled || !source) { tile?.remove(); tile = null; }
    else if (!tile) box.after(tile = tileImage(tokens));
    else fillTile(tile, tokens);
  };
  return cell;
}

// Tokens as colours, one pixel a patch; nothing hidden is transparent.
function tileImage(tile) {
  const image = element("img", { draggable: false });
  image.style.cssText = "width: 70px; height: 70px; background: var(--empty); image-rendering: pixelated; " +
    "border: 1px solid var(--line); border-radius: 4px; box-sizing: border-box";
  fillTile(image, tile);
  return image;
}

const BLANK = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";

function fillTile(image, tile) {
  const source = tile ? tile.picture : BLANK;
  if (image.src !== source) image.src = source;
  image.alt = tile ? tile.words : "";
  image.title = image.alt;
}

function referenceTile(tile) {
  const figure = element("figure", {}, tileImage(tile), element("figcaption", { className: "soft", textContent: tile.name }));
  figure.style.cssText = "margin: 0 8px 0 0; max-width: 120px";
  return figure;
}

// The lines between hidden and visible patches, as a path on the grid.
function borderPath(hole, [rows, cols]) {
  const hides = (r, c) => r >= 0 && c >= 0 && r < rows && c < cols && hole[r * cols + c] === "1";
  let path = "";
  for (let r = 0; r <= rows; r++) {
    for (let c = 0; c <= cols; c++) {
      if (hides(r, c) !== hides(r - 1, c)) path += `M${c} ${r}h1`;
      if (hides(r, c) !== hides(r, c - 1)) path += `M${c} ${r}v1`;
    }
  }
  return path;
}

// The border of a hidden region of any shape, as an overlay.
function border(hole, [rows, cols], stroke) {
  const line = vector("path", { d: borderPath(hole, [rows, cols]), stroke, "stroke-width": 2, "vector-effect": "non-scaling-stroke", "stroke-linecap": "round" });
  return vector("svg", { viewBox: `0 0 ${cols} ${rows}`, preserveAspectRatio: "none", "aria-hidden": "true" }, line);
}

// The cosine of predicted and target token of every hidden patch, as colours and as text.
function cosineMap(model) {
  const [rows, cols] = model.get("grid");
  const box = element("figure", { hidden: true });
  box.style.margin = "6px 0 0";
  const canvas = element("canvas", { width: 140, height: Math.round((140 * rows) / cols) });
  canvas.setAttribute("role", "img");
  const words = element("figcaption", { className: "soft" });
  box.append(canvas, words);
  box.paint = () => {
    const values = model.get("cosines");
    const pen = canvas.getContext("2d");
    const w = canvas.width / cols, h = canvas.height / rows;
    pen.clearRect(0, 0, canvas.width, canvas.height);
    values.forEach((value, i) => {
      if (value < -1) return;
      pen.fillStyle = viridis(value);
      pen.fillRect((i % cols) * w, Math.floor(i / cols) * h, w, h);
    });
    const shown = values.filter((v) => v >= -1);
    const text = shown.length
      ? `Cosine of predicted and target token, dark 0, bright 1: ${Math.min(...shown).toFixed(2)} to ${Math.max(...shown).toFixed(2)}`
      : "No prediction, so no cosine";
    words.textContent = text;
    canvas.setAttribute("aria-label", text);
  };
  return box;
}

// From the patches to the picture, with this hole's own values.
function storyStrip(model) {
  const list = element("ol", { className: "stations" });
  const box = element("div", { className: "story wide" }, element("p", { className: "title", textContent: "How the pictures come about" }), list);
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", "How the pictures come about");
  let drawn = null;
  box.show = (stale) => {
    const story = model.get("story") || [];
    box.hidden = !story.length;
    list.classList.toggle("stale", stale);
    if (story === drawn) return;
    drawn = story;
    list.replaceChildren(...story.map((station, i) => element("li", {},
      element("strong", { textContent: `${i + 1}. ${station.name}` }),
      element("div", { className: "tiles" }, ...station.pictures.map((p) => element("img", { src: p.picture, alt: p.words, title: p.words, draggable: false }))),
      element("p", { textContent: station.words }))));
  };
  return box;
}
