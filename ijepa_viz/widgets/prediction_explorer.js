// PredictionExplorer: the surface, a few controls, and the samples beside it.

const SHOWN = [
  ["predicted", "the prediction"],
  ["pooled", "the prediction, averaged (as in the paper)"],
  ["other", "control: another image's prediction"],
  ["mean", "control: the mean prediction of many images"],
  ["target", "control: the target encoder's tokens"],
  ["null", "control: nothing"],
];

const TOKENS = "The target tokens that were sampled for each picture, as colours: equal colours are alike in their three " +
  "principal components. Colours can be compared within one result, not between two";

export default {
  render({ model, el }) {
    const surface = paintingSurface(model, el);
    const right = element("div");
    const strip = element("div", { className: "strip" });
    strip.dataset.testid = "samples";
    const caption = element("p", { className: "status" });
    caption.setAttribute("aria-live", "polite");

    const ask = () => { model.set("seq", model.get("seq") + 1); model.save_changes(); };
    // A control for one trait: read(node) is what goes to the kernel, write(value) what the page shows.
    const fields = [];
    const field = (name, node, read, write = (value) => { node.value = value; }) => {
      node.onchange = () => { const value = read(node); write(value); model.set(name, value); ask(); };
      fields.push([name, () => write(model.get(name))]);
      write(model.get(name));
      return node;
    };
    const whole = (low, high) => (node) => Math.min(high, Math.max(low, Math.round(Number(node.value) || low)));
    const menu = (options, tip) => {
      const node = element("select", { title: tip });
      for (const [value, text] of options) node.append(element("option", { value, textContent: text }));
      return node;
    };
    const number = (min, max, step = 1) => element("input", { type: "number", min, max, step });

    const first = element("div", { className: "bar" });
    const choices = model.get("choices");
    if (choices.length > 1) {
      const node = field("choice", menu(choices.map((c) => [c, c]), "Model"), (n) => n.value);
      first.append(element("label", {}, "model", node));
    }
    first.append(
      element("label", {}, "decode", field("show", menu(SHOWN, "Conditioning of the decoder"), (n) => n.value)),
      element("label", {}, "samples", field("samples", number(1, 12), whole(1, 12))),
      element("label", {}, "seed", field("seed", number(0, 1e9), whole(0, 1e9))),
    );
    const second = element("div", { className: "bar" });
    const lines = element("input", { type: "checkbox", checked: true, title: "A line around what was decoded" });
    lines.onchange = draw;
    const map = element("input", { type: "checkbox", title: "How well each hidden patch was predicted" });
    const tokens = element("input", { type: "checkbox" });
    tokens.onchange = draw;
    const tokensLabel = element("label", {}, tokens, "sampled tokens");
    const steps = Object.assign(number(0, 100), { placeholder: "default" });
    second.append(
      element("label", { title: "Evaluations of the decoder; empty is its tested default, 1 the blur of a squared-error decoder" },
        "steps", field("steps", steps, whole(0, 100), (value) => { steps.value = value || ""; })),
      element("label", { title: "1 is none. More shrinks the very variance that the samples are read for" }, "guidance",
        field("guidance", number(0, 10, 0.5), (n) => Math.min(10, Math.max(0, Number(n.value) || 0)))),
      element("label", {}, lines, "outline"),
      element("label", {}, map, "cosine map"), tokensLabel,
    );
    const heat = cosineMap(model);
    map.onchange = () => { heat.hidden = !map.checked; };
    const references = element("div", { className: "bar" });
    references.style.cssText = "align-items: flex-start; margin: 4px 0 0";
    const agreement = element("p", { className: "soft" });
    const compared = element("section", { hidden: true }, references, agreement);
    compared.setAttribute("aria-label", "Tokens as colours");
    right.append(first, second, strip, caption, compared, heat);
    surface.root.append(right);

    function draw() {
      const pictures = model.get("pictures"), without = model.get("no_tokens"), tiles = model.get("token_tiles");
      const tiled = tokens.checked && !without;
      tokens.disabled = Boolean(without);
      tokens.title = tokensLabel.title = without || TOKENS;
      tokensLabel.style.opacity = without ? 0.55 : 1;
      while (strip.children.length > pictures.length) strip.lastChild.remove();
      const box = [lines.checked, model.get("hole"), model.get("line")].join();
      pictures.forEach((source, i) => {
        if (!strip.children[i]) strip.append(sampleColumn());
        const column = strip.children[i], boxed = column.firstChild, image = boxed.firstChild;
        image.src = source;
        image.alt = `Sample ${i + 1}. ${model.get("caption")}`;
        column.showTile(tiled, tiles[i]);
        if (boxed.dataset.box === box) return;
        boxed.dataset.box = box;
        boxed.replaceChildren(image, ...(lines.checked ? [border(model.get("hole"), model.get("grid"), model.get("line"))] : []));
      });
      compared.hidden = !tiled || !pictures.length;
      // Unknown while samples are being drawn: the place stays, so that nothing below it jumps.
      const known = compared.hidden ? [] : model.get("reference_tiles");
      compared.style.visibility = known.length ? "" : "hidden";
      if (compared.hidden || known.length) {
        references.replaceChildren(...known.map(referenceTile));
        agreement.textContent = model.get("agreement");
      }
      caption.textContent = model.get("busy") ? "drawing…" : model.get("caption");
      strip.setAttribute("aria-busy", String(model.get("busy")));
      strip.dataset.shown = model.get("result_seq");
      heat.paint();
    }
    const reactions = [
      ...["pictures", "hole", "line", "busy", "caption", "result_seq", "cosines", "token_tiles", "reference_tiles", "agreement",
        "no_tokens"].map((name) => [name, draw]),
      ...fields,
    ];
    reactions.forEach(([name, react]) => model.on(`change:${name}`, react));
    draw();
    return () => {
      surface.cleanUp();
      reactions.forEach(([name, react]) => model.off(`change:${name}`, react));
    };
  },
};

// A place for one sample: its picture, and below it the tokens that it was drawn from.
function sampleColumn() {
  const boxed = element("span", { className: "boxed" }, element("img", { draggable: false }));
  const column = element("span", {}, boxed);
  column.style.cssText = "display: inline-flex; flex-direction: column; align-items: center; gap: 2px";
  // While the samples are being drawn their tokens are not known: the place stays, empty.
  column.showTile = (shown, tile) => {
    if (!shown) boxed.nextSibling?.remove();
    else if (!boxed.nextSibling) column.append(tileImage(tile));
    else fillTile(boxed.nextSibling, tile);
  };
  return column;
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

// The border of a hidden region of any shape, as an overlay.
function border(hole, [rows, cols], stroke) {
  const hides = (r, c) => r >= 0 && c >= 0 && r < rows && c < cols && hole[r * cols + c] === "1";
  let path = "";
  for (let r = 0; r <= rows; r++) {
    for (let c = 0; c <= cols; c++) {
      if (hides(r, c) !== hides(r - 1, c)) path += `M${c} ${r}h1`;
      if (hides(r, c) !== hides(r, c - 1)) path += `M${c} ${r}v1`;
    }
  }
  const line = vector("path", { d: path, stroke, "stroke-width": 2, "vector-effect": "non-scaling-stroke", "stroke-linecap": "round" });
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
      : "No prediction yet";
    words.textContent = text;
    canvas.setAttribute("aria-label", text);
  };
  return box;
}
