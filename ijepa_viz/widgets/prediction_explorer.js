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
    // A page without a kernel names the choices that it can answer; others are not offered.
    const offline = model.get("offline"), answers = !offline || offline.engine;  // by a kernel, or by the browser
    const [rows, cols] = model.get("grid"), shape = cols / rows;
    const crop = async (file) => {
      const image = await readPicture(file), face = await findFace(model, image);
      cropPanel(surface.left, image, (part) => {
        if (!part) return surface.canvas.focus({ preventScroll: true });
        const side = Math.max(1, Math.min(SENT_SIDE, part[2]));
        send(model, image, part, [side, Math.max(1, Math.round(side / shape))]);
        surface.canvas.focus({ preventScroll: true });
      }, shape, face);
    };
    const takeFile = async (file) => {
      surface.complain("");
      try { await crop(file); } catch (error) { surface.complain(`${file.name}: ${error.message}`); }
    };
    const surface = paintingSurface(model, el, { opaque: true, take: crop, saves: [
      ["Save samples", "All pictures as one PNG", () => savePictures().catch((error) => surface.complain(error.message))],
      ["Save numbers", "The cosine of each patch as CSV", () => {
        if (!model.get("pictures").length) return surface.complain("There is nothing to save yet: hide something first.");
        if (!unfinished()) saveNumbers(model);
      }],
      ...(offline ? [] : [".pdf", ".svg"]).map((ending) => [`Save figure (${ending.slice(1).toUpperCase()})`,
        "Original, context and samples, for print: the text stays text", () => {
          if (!model.get("pictures").length) return surface.complain("There is nothing to save yet: hide something first.");
          if (!unfinished()) figures.save(ending);
        }]),
    ] });
    const figures = figureSaver(model, surface.complain);
    el.append(element("style", { textContent: EXPLORER_STYLE }));
    const { root } = surface;
    root.classList.add("explorer");
    root.style.setProperty("--shape", shape);
    const frame = element("div", { className: "ijv-frame" });
    root.replaceWith(frame);
    frame.append(root);
    const right = element("div", { className: "results" });
    const truth = truthCell(draw);
    const strip = element("div", { className: "flow-in" });
    strip.dataset.testid = "samples";
    const cells = element("div", { className: "cells" }, truth, strip);
    const caption = element("p", { className: "status caption" });
    caption.setAttribute("aria-live", "polite");

    const ask = () => { model.set("seq", model.get("seq") + 1); model.save_changes(); };
    // A control for one trait: read(node) is what goes to the kernel, write(value) what the page shows.
    const fields = [];
    const field = (name, node, read, write = (value) => { node.value = value; }) => {
      node.onchange = () => {
        const value = read(node);
        if (value === null) return write(model.get(name));
        surface.complain("");
        write(value); model.set(name, value); ask();
      };
      fields.push([name, () => write(model.get(name))]);
      write(model.get(name));
      return node;
    };
    // What is asked for is done or refused, never silently something else.
    const within = (name, low, high, whole = true) => (node) => {
      const value = Number(node.value);
      if (node.validity.badInput || (node.value === "" && node.placeholder !== "default") || value < low || value > high || (whole && !Number.isInteger(value))) {
        surface.complain(`${name}: ${whole ? "a whole number" : "a number"} from ${low} to ${high}, not ${node.value || "this"}.`);
        return null;
      }
      return value;
    };
    const menu = (options, tip) => {
      const node = element("select", { title: tip });
      for (const [value, text] of options) node.append(element("option", { value, textContent: text }));
      return node;
    };
    const number = (min, max, step = 1) => element("input", { type: "number", min, max, step });

    const first = element("div", { className: "bar" });
    const most = model.get("most_samples") || 24;
    const models = menu([], "Models of this kind of picture");
    if ((model.get("names") || []).length > 1 && !offline) {
      first.append(element("label", {}, "model", field("choice", models, (n) => n.value, () => {
        const fitting = model.get("choices");
        models.replaceChildren(...fitting.map((name) => element("option", { value: name, textContent: name })));
        models.value = model.get("choice");
      })));
      fields.push(["choices", fields.at(-1)[1]]);
    }
    const offered = SHOWN.filter(([show]) => !offline || offline.shows.includes(show));
    if (offered.length > 1) {
      first.append(element("label", {}, "decode", field("show", menu(offered, "Conditioning of the decoder"), (n) => n.value)));
    }
    const second = element("div", { className: "bar" });
    const lines = element("input", { type: "checkbox", checked: true, title: "A line around what was decoded" });
    lines.onchange = draw;
    const map = element("input", { type: "checkbox", title: "How well each hidden patch was predicted" });
    const tokens = element("input", { type: "checkbox" });
    tokens.onchange = draw;
    const tokensLabel = element("label", {}, tokens, "sampled tokens");
    if (answers) {
      first.append(
        element("label", { title: `1 to ${most}` }, "samples", field("samples", number(1, most), within("samples", 1, most))),
        element("label", { title: "Sample i is drawn from noise of seed + i" }, "seed", field("seed", number(0, 1e9), within("seed", 0, 1e9))),
      );
      const steps = Object.assign(number(0, 100), { placeholder: "default" });
      second.append(
        element("label", { title: `${WORDS.steps} Empty is the decoder's tested default` },
          "steps", field("steps", steps, within("steps", 0, 100), (value) => { steps.value = value || ""; })),
        element("label", { title: WORDS.guidance }, "guidance",
          field("guidance", number(1, 10, 0.5), within("guidance", 1, 10, false))),
      );
    }
    second.append(element("label", {}, lines, "outline"), element("label", { title: WORDS.cosine }, map, "cosine map"), tokensLabel);
    const heat = cosineMap(model);
    map.onchange = () => { heat.hidden = !map.checked; };
    const references = element("div", { className: "bar" });
    references.style.cssText = "align-items: flex-start; margin: 4px 0 0";
    const agreement = element("p", { className: "soft" });
    const compared = element("section", { hidden: true }, references, agreement);
    compared.setAttribute("aria-label", "Tokens as colours");

    const story = storyStrip(model);
    const row = pictureRow(model, choose, takeFile);
    const controls = element("div", { className: "controls" }, first, second);
    let playing = "off";
    const game = gamePanel(model, {
      begin: () => {
        // What hides nothing or everything is no question, and a truth that was seen no round.
        if (truth.open || !/1/.test(model.get("mask")) || !/0/.test(model.get("mask"))) return another();
        model.set("game", model.get("game") + 1);
        ask();
      },
      next: another,
      shown: (state) => {
        playing = state;
        surface.left.inert = state !== "off";
        draw();
      },
    });
    function another() {
      surface.commit(anyBlock(model.get("grid")), null, () => {
        // Of the same kind, so that the score is of one model.
        const row = model.get("gallery"), now = model.get("chosen"), kind = row[now]?.kind || "";
        const next = row.map((_, i) => (now + 1 + i) % row.length).find((i) => (row[i].kind || "") === kind);
        if (next !== undefined) model.set("chosen", next);
        model.set("game", model.get("game") + 1);
      });
    }
    const projector = element("button", { type: "button", className: "last", textContent: "Projector", title: "Large type and pictures on the whole screen, for a class" });
    const project = (on) => {
      root.classList.toggle("projector", on);
      projector.setAttribute("aria-pressed", String(on));
    };
    project(false);
    projector.onclick = () => {
      const on = !root.classList.contains("projector");
      project(on);
      if (!on) return document.fullscreenElement === frame && document.exitFullscreen();
      // Where a page may not fill the screen, as in a frame, the large layout stays in its place.
      const inPlace = () => frame.scrollIntoView({ block: "start" });
      frame.requestFullscreen ? frame.requestFullscreen().catch(inPlace) : inPlace();
    };
    frame.addEventListener("fullscreenchange", () => { if (document.fullscreenElement !== frame) project(false); });
    const top = element("div", { className: "row wide" });
    if (answers) {
      top.append(row);
      row.style.flex = "1 1 auto";
    }
    if (!offline) {
      top.append(element("button", {
        type: "button", className: "last", textContent: "Predict, then reveal", onclick: game.start,
        title: "A game: which pictures are the model's, and which a control's?",
      }));
      projector.classList.remove("last");
    }
    top.append(projector);
    root.prepend(top);
    right.append(game.panel, cells, caption, compared, heat);
    root.append(right, controls, story, wordsExplained());
    root.lastChild.classList.add("wide");

    function choose(i) {
      model.set("chosen", i);
      ask();
    }
    const overPicture = (event) => event.dataTransfer?.types.includes("Files") && model.get("uploads") && !surface.left.inert;
    root.addEventListener("dragover", (event) => { if (overPicture(event)) { event.preventDefault(); event.stopPropagation(); } });
    root.addEventListener("drop", (event) => {
      if (!overPicture(event)) return;
      event.preventDefault();
      event.stopPropagation();
      const [file] = event.dataTransfer.files;  // none: a folder
      if (file) takeFile(file);
    });

    const outline = () => ({ hole: model.get("hole"), grid: model.get("grid"), stroke: lines.checked ? model.get("line") : "" });
    // What is half drawn does not belong to the caption and the numbers that stand there.
    function unfinished() {
      if (!answers || (!model.get("busy") && model.get("result_seq") === model.get("seq"))) return false;
      surface.complain("Still drawing: save when the samples are there.");
      return true;
    }
    async function savePictures() {
      const pictures = model.get("pictures");
      if (!pictures.length) return surface.complain("There is nothing to save yet: hide something first.");
      if (unfinished()) return;
      const all = [{ source: surface.canvas, words: "what the model sees" }];
      if (truth.open) all.push({ source: model.get("truth"), words: "the truth", lined: true });
      all.push(...pictures.map((source, i) => ({ source, words: `sample ${i + 1}`, lined: true })));
      const what = (SHOWN.find(([show]) => show === model.get("show")) || ["", ""])[1];
      await saveSheet(all, outline(), `${what}; steps ${model.get("steps") || "default"}; ${model.get("caption")}`);
    }

    function draw() {
      const pictures = model.get("pictures"), without = model.get("no_tokens"), tiles = model.get("token_tiles");
      const secret = playing !== "off";
      for (const node of [cells, caption, controls]) node.hidden = secret;  // what says whose pictures they are
      top.style.visibility = secret ? "hidden" : "";
      const tiled = tokens.checked && !without;
      tokens.disabled = Boolean(without);
      tokens.title = tokensLabel.title = without || TOKENS;
      tokensLabel.style.opacity = without ? 0.55 : 1;
      const count = Math.max(pictures.length, model.get("samples"));
      while (strip.children.length > count) strip.lastChild.remove();
      while (strip.children.length < count) strip.append(sampleCell(strip.children.length + 1));
      [...strip.children].forEach((cell, i) => cell.show(pictures[i], `Sample ${i + 1}. ${model.get("caption")}`, outline(), tiled, tiles[i]));
      truth.show(model.get("truth"), pictures.length > 0 && Boolean(model.get("truth")), outline());
      compared.hidden = !tiled || !pictures.length || secret;
      // Unknown while samples are being drawn: the place stays, so that nothing below it jumps.
      const known = compared.hidden ? [] : model.get("reference_tiles");
      compared.style.visibility = known.length ? "" : "hidden";
      if (compared.hidden || known.length) {
        references.replaceChildren(...known.map(referenceTile));
        agreement.textContent = model.get("agreement");
      }
      const unanswered = offline && !offline.shows.length && model.get("mask") !== model.get("hole");
      caption.textContent = unanswered ? "This page cannot answer another hole: open the notebook."
        : model.get("busy") ? "drawing…" : model.get("caption");
      strip.setAttribute("aria-busy", String(model.get("busy")));
      strip.dataset.shown = model.get("result_seq");
      heat.hidden = !map.checked || secret;
      heat.paint();
      story.show(model.get("busy"));
      story.style.visibility = secret ? "hidden" : "";  // its place stays
    }
    // One message of the kernel changes several traits: drawn once, after all of them.
    let queued = false;
    const redraw = () => {
      if (queued) return;
      queued = true;
      queueMicrotask(() => { queued = false; draw(); });
    };
    const cover = () => { truth.open = false; redraw(); };
    const reactions = [
      ...["pictures", "hole", "line", "busy", "caption", "result_seq", "cosines", "token_tiles", "reference_tiles", "agreement",
        "no_tokens", "truth", "story", "samples"].map((name) => [name, redraw]),
      ...["mask", "image"].map((name) => [name, cover]),
      ...["gallery", "chosen"].map((name) => [name, row.show]),
      ...fields,
    ];
    reactions.forEach(([name, react]) => model.on(`change:${name}`, react));
    row.show();
    draw();
    return () => {
      surface.cleanUp();
      game.cleanUp();
      figures.cleanUp();
      reactions.forEach(([name, react]) => model.off(`change:${name}`, react));
    };
  },
};

// A block of half the sides somewhere in the picture, for the game's next round.
function anyBlock([rows, cols]) {
  const height = Math.max(1, Math.floor(rows / 2)), width = Math.max(1, Math.floor(cols / 2));
  const top = Math.floor(Math.random() * (rows - height + 1)), left = Math.floor(Math.random() * (cols - width + 1));
  return Array.from({ length: rows * cols }, (_, i) => {
    const r = Math.floor(i / cols), c = i % cols;
    return r >= top && r < top + height && c >= left && c < left + width;
  });
}
