// ArchitectureDiagram: the three architectures, their data flow, and the energy of each completion.
// Arrows point forwards: x is the visible part, y the candidate for the hidden part, D the energy.

const DIAGRAMS = [
  {
    key: "invariance", title: "Joint-embedding", claim: "Compatible: two views of one picture.",
    nodes: {
      x: ["image", 20, 190, 70, "x", "x: the visible part of the picture, one view."],
      y: ["image", 170, 190, 70, "y", "y: the candidate for the hidden part, another view."],
      ex: ["box", 20, 130, 70, "encoder", "One encoder for both views; in training each view is cropped and recoloured at random."],
      ey: ["box", 170, 130, 70, "encoder", "The same encoder, with the same weights."],
      sx: ["dot", 55, 95, 0, "sx", "s_x: one vector for the whole view. Where things are is averaged away."],
      sy: ["dot", 205, 95, 0, "sy", "s_y: the other view's vector."],
      d: ["energy", 130, 40, 0, "D", "D: the distance of the two vectors. It is low for any two views of one picture, so the energy does not depend on where a piece belongs."],
    },
    flows: [["x", "ex"], ["ex", "sx"], ["y", "ey"], ["ey", "sy"], ["sx", "d"], ["sy", "d"]],
  },
  {
    key: "mae", title: "Generative", claim: "Compatible: equal pixels.",
    nodes: {
      x: ["image", 20, 190, 70, "x", "x: the visible part of the picture."],
      y: ["image", 170, 190, 70, "y", "y: the candidate for the hidden part, as pixels."],
      ex: ["box", 20, 130, 70, "encoder", "The encoder computes on the visible patches only."],
      sx: ["dot", 55, 95, 0, "sx", "s_x: a token for each visible patch."],
      z: ["dot", 20, 50, 0, "z", "z: which patches to draw, as mask tokens with their places."],
      dec: ["box", 45, 28, 70, "decoder", "The decoder draws the hidden pixels. Where several completions are possible it draws their mean: a blur."],
      d: ["energy", 205, 40, 0, "D", "D: the squared difference of pixels. It is high for a correct completion with slightly different pixels."],
    },
    flows: [["x", "ex"], ["ex", "sx"], ["sx", "dec"], ["z", "dec"], ["dec", "d"], ["y", "d"]],
  },
  {
    key: "ijepa", title: "Joint-embedding predictive", claim: "Compatible: the expected representation.",
    nodes: {
      x: ["image", 20, 190, 70, "x", "x: the visible part of the picture."],
      y: ["image", 170, 190, 70, "y", "y: the candidate for the hidden part, within its picture."],
      ex: ["box", 20, 130, 70, "encoder", "The context encoder computes on the visible patches only."],
      ey: ["box", 170, 130, 70, "teacher", "The target encoder: a moving average of the context encoder's weights. No gradient flows through it."],
      sx: ["dot", 55, 95, 0, "sx", "s_x: a token for each visible patch."],
      sy: ["dot", 205, 95, 0, "sy", "s_y: the representation of the hidden patches, which may leave out unpredictable detail."],
      z: ["dot", 20, 50, 0, "z", "z: which patches to predict, as mask tokens with their places."],
      dec: ["box", 45, 28, 70, "predictor", "The predictor predicts the representation of the hidden patches, never a pixel."],
      d: ["energy", 205, 40, 0, "D", "D: the distance of prediction and representation. It is low for completions that the context predicts at that position."],
    },
    flows: [["x", "ex"], ["ex", "sx"], ["y", "ey"], ["ey", "sy"], ["sx", "dec"], ["z", "dec"], ["dec", "d"], ["sy", "d"]],
  },
];
const START = "Point at a part, or move through them with Tab, to read what it does.";

export default {
  render({ model, el }) {
    el.append(element("style", { textContent: STYLE + `
      .ijv .node:focus-visible { outline: none; } .ijv .node:focus-visible > :first-child, .ijv .node:hover > :first-child { stroke: var(--focus); stroke-width: 3; }
      .ijv .flow { stroke: var(--line); stroke-width: 1.5; } .ijv .flow.lit { stroke: var(--focus); stroke-width: 3; }
      .ijv .bar.choices { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(172px, 46%), 1fr)); gap: 8px; width: 100%; max-width: 760px; }
      .ijv .choices button { padding: 4px; display: flex; flex-direction: column; align-items: center; gap: 2px; }
      .ijv .choices img { width: 160px; max-width: 100%; aspect-ratio: 1; image-rendering: pixelated; display: block; }
      .ijv .three { display: flex; flex-wrap: wrap; gap: 12px; } .ijv .three > div { width: 264px; }
      .ijv .title { font-size: 15px; font-weight: 600; margin: 0; }
      .ijv .energies { position: sticky; top: 0; z-index: 1; background: var(--paper); display: grid; gap: 4px 12px; width: 100%; max-width: 760px;
        grid-template-columns: fit-content(40%) minmax(60px, 1fr) max-content; align-items: center; padding: 4px 0; }
      .ijv .energies p { margin: 0; } .ijv .energies .name { font-weight: 600; } .ijv .energies .number { font-variant-numeric: tabular-nums; }
      .ijv .gauge { position: relative; height: 16px; border-left: 1px solid var(--line); border-right: 1px solid var(--line); background: var(--empty); }
      .ijv .gauge > * { position: absolute; top: 0; bottom: 0; } .ijv .gauge .truth { width: 0; top: -3px; bottom: -3px; border-left: 2px solid var(--ink); }
      .ijv .energies .scale { grid-column: 2 / 3; display: flex; justify-content: space-between; max-width: none; white-space: nowrap; }
      .ijv .energies .note { grid-column: 1 / -1; max-width: none; }` }));
    const root = element("div", { className: "ijv" });
    keepKeys(root);
    root.style.flexDirection = "column";
    const three = element("div", { className: "three" });
    const words = element("p", { className: "status", textContent: START });
    words.setAttribute("aria-live", "polite");
    words.dataset.testid = "words";
    const choices = element("div", { className: "bar choices" });
    choices.setAttribute("role", "group");
    choices.setAttribute("aria-label", "Candidates for the hidden part");
    const about = element("p", { className: "soft" });
    about.setAttribute("aria-live", "polite");
    about.style.maxWidth = "none";
    let held = "";  // words of the part that has the focus: a pointer that leaves another part gives them back
    const panels = DIAGRAMS.map((diagram) => {
      const panel = diagramPanel(diagram, (text, hold) => {
        if (hold) held = text;
        words.textContent = text || held || START;
      });
      three.append(panel.box);
      return panel;
    });
    // The energies stay in view, above the candidates that are pressed.
    const energyBox = element("div", { className: "energies" });
    const gauges = DIAGRAMS.map((diagram) => energyGauge(diagram, energyBox));
    const scale = element("p", { className: "soft scale" });
    energyBox.append(scale, element("p", { className: "soft note", textContent: "Energy over the true completion's (the line, 1), on one logarithmic scale." }));
    root.append(about, energyBox, choices, three, words);
    el.append(root);

    function draw() {
      const candidates = model.get("candidates"), chosen = model.get("chosen"), energies = model.get("energies");
      choices.replaceChildren(...candidates.map((candidate, i) => {
        const button = element("button", { type: "button", title: candidate.about });
        button.append(element("img", { src: candidate.picture, alt: "" }), candidate.name);
        button.setAttribute("aria-pressed", String(i === chosen));
        button.onclick = () => { model.set("chosen", i); model.save_changes(); };
        return button;
      }));
      const now = candidates[chosen];
      about.textContent = now ? `y is ${now.name}: ${now.about}` : "";
      panels.forEach((panel) => panel.show(model.get("picture"), now && now.picture));
      // One logarithmic scale for all, so that no bar is cut off.
      const ratios = Object.values(energies).flatMap((values) => (values[0] > 0 ? values.map((v) => v / values[0]) : [])).filter((v) => v > 0);
      const ends = [Math.min(0.5, ...ratios), Math.max(2, ...ratios)];
      energyBox.hidden = !ratios.length;
      scale.replaceChildren(...ends.map((end) => element("span", { textContent: `${figures(end)} ×` })));
      gauges.forEach((gauge) => gauge(energies[gauge.key], chosen, ends));
    }
    const names = ["candidates", "chosen", "energies", "picture"];
    // The pressed button is drawn anew: give the focus back to it.
    const redraw = () => {
      const at = [...choices.children].indexOf(choices.getRootNode().activeElement);
      draw();
      if (at >= 0) choices.children[at]?.focus();
    };
    names.forEach((name) => model.on(`change:${name}`, redraw));
    draw();
    return () => names.forEach((name) => model.off(`change:${name}`, redraw));
  },
};

function diagramPanel({ key, title, claim, nodes, flows }, say) {
  const box = element("div");
  const picture = vector("svg", { viewBox: "0 0 260 270", width: 260, height: 270, role: "group", "aria-label": title });
  const tip = `tip-${key}-${Math.random().toString(36).slice(2)}`;  // two diagrams may be on one page
  picture.append(vector("defs", {}, vector("marker",
    { id: tip, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" },
    vector("path", { d: "M0 0L8 4L0 8z", fill: "var(--line)" }))));
  const place = (id) => {
    const [kind, x, y, w] = nodes[id];
    if (kind === "image") return { x: x + w / 2, top: y, bottom: y + 70, left: x, right: x + w, y: y + 35 };
    if (kind === "box") return { x: x + w / 2, top: y, bottom: y + 30, left: x, right: x + w, y: y + 15 };
    const r = kind === "energy" ? 20 : 12;
    return { x, y, top: y - r, bottom: y + r, left: x - r, right: x + r };
  };
  const lines = flows.map(([from, to]) => {
    const a = place(from), b = place(to);
    const sideways = Math.abs(a.y - b.y) < 30;
    const line = sideways
      ? vector("line", { x1: a.right, y1: a.y, x2: b.left, y2: b.y, class: "flow", "marker-end": `url(#${tip})` })
      : vector("line", { x1: a.x, y1: a.top, x2: b.x, y2: b.bottom, class: "flow", "marker-end": `url(#${tip})` });
    picture.append(line);
    return { from, to, line };
  });
  const images = {};
  let focused = null;
  const light = (id) => lines.forEach(({ from, to, line }) => line.classList.toggle("lit", id === from || id === to));
  for (const [id, [kind, x, y, w, label, text]] of Object.entries(nodes)) {
    const shape = kind === "image" ? vector("rect", { x, y, width: w, height: 70, rx: 4, fill: "var(--empty)", stroke: "var(--line)" })
      : kind === "box" ? vector("rect", { x, y, width: w, height: 30, rx: 6, fill: "var(--paper)", stroke: "var(--ink)" })
      : vector("circle", { cx: x, cy: y, r: kind === "energy" ? 20 : 12, fill: kind === "energy" ? "#D55E00" : "var(--paper)", stroke: "var(--ink)" });
    const middle = place(id);
    const written = vector("text", {
      x: middle.x, y: kind === "image" ? y + 66 : middle.y + 4, "text-anchor": "middle", "font-size": kind === "dot" ? 11 : 13,
      fill: kind === "energy" ? "#fff" : "var(--ink)", "font-weight": kind === "energy" ? 700 : 400,
    }, label[0] === "s" && kind === "dot" ? "s" : label);
    if (kind === "dot" && label[0] === "s") written.append(vector("tspan", { "font-size": 8, dy: 3 }, label[1]));
    const node = vector("g", { class: "node", tabindex: 0, role: "img", "aria-label": text });
    node.append(shape);
    if (kind === "image") {
      images[id] = vector("image", { x: x + 7, y: y + 2, width: 56, height: 52 });
      images[id].style.imageRendering = "pixelated";
      node.append(images[id]);
      written.setAttribute("font-style", "italic");
    }
    node.append(written);
    node.addEventListener("pointerenter", () => { say(text); light(id); });
    node.addEventListener("pointerleave", () => { say(""); light(focused); });
    node.addEventListener("focus", () => { focused = id; say(text, true); light(id); });
    node.addEventListener("blur", () => { focused = null; say("", true); light(null); });
    picture.append(node);
  }
  box.append(element("p", { className: "title", textContent: title }), picture, element("p", { className: "soft", textContent: claim }));
  const show = (seen, candidate) => {
    for (const [id, source] of [["x", seen], ["y", candidate]]) {
      if (source) images[id].setAttribute("href", source); else images[id].removeAttribute("href");
    }
  };
  return { box, show };
}

const figures = (ratio) => (ratio >= 10 ? ratio.toFixed(1) : ratio >= 0.1 || !ratio ? ratio.toFixed(2) : ratio.toPrecision(2));

// One architecture's row: its name, a bar from the truth's energy (1) to the candidate's, and the number.
function energyGauge({ key, title }, box) {
  const name = element("p", { className: "name", textContent: title });
  const bar = element("div"), truth = element("div", { className: "truth" });
  const gauge = element("div", { className: "gauge" }, bar, truth);
  gauge.setAttribute("role", "meter");
  gauge.setAttribute("aria-label", `${title}: energy over the true completion's`);
  const energy = element("p", { className: "number" });
  energy.dataset.testid = `energy-${key}`;
  box.append(name, gauge, energy);
  const show = (values, chosen, [low, high]) => {
    const known = Boolean(values) && values[chosen] !== undefined && values[0] > 0;
    for (const node of [name, gauge, energy]) node.hidden = !known;
    energy.textContent = "";
    if (!known) return;
    const ratio = values[chosen] / values[0];
    const at = (value) => (100 * Math.log(value / low)) / Math.log(high / low);
    const [from, to] = [at(1), at(Math.max(low, ratio))].sort((a, b) => a - b);
    bar.style.left = `${from}%`;
    bar.style.width = `${to - from}%`;
    bar.style.background = ratio > 1 ? "#D55E00" : "#0072B2";  // less compatible than the truth; more
    truth.style.left = `calc(${at(1)}% - 1px)`;
    for (const [attribute, value] of [["valuemin", low], ["valuemax", high], ["valuenow", ratio]]) gauge.setAttribute(`aria-${attribute}`, value.toFixed(3));
    gauge.setAttribute("aria-valuetext", `${figures(ratio)} times`);
    energy.textContent = `${figures(ratio)} ×`;
  };
  return Object.assign(show, { key });
}
