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
      .ijv .choices img { width: 56px; height: 56px; image-rendering: pixelated; display: block; }
      .ijv .choices button { padding: 4px; } .ijv .three { display: flex; flex-wrap: wrap; gap: 12px; }
      .ijv .three > div { width: 264px; } .ijv .title { font-size: 15px; font-weight: 600; margin: 0; } .ijv meter { width: 150px; }` }));
    const root = element("div", { className: "ijv" });
    root.style.flexDirection = "column";
    const three = element("div", { className: "three" });
    const words = element("p", { className: "status", textContent: START });
    words.setAttribute("aria-live", "polite");
    words.dataset.testid = "words";
    const choices = element("div", { className: "bar choices" });
    choices.setAttribute("role", "group");
    choices.setAttribute("aria-label", "Candidates for the hidden part");
    choices.style.maxWidth = "none";
    const about = element("p", { className: "soft" });
    about.setAttribute("aria-live", "polite");
    about.style.maxWidth = "none";
    const panels = DIAGRAMS.map((diagram) => {
      const panel = diagramPanel(diagram, (text) => { words.textContent = text || START; });
      three.append(panel.box);
      return panel;
    });
    root.append(choices, about, three, words);
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
      panels.forEach((panel) => panel.show(energies[panel.key], chosen, model.get("picture"), now && now.picture));
    }
    const names = ["candidates", "chosen", "energies", "picture"];
    // The pressed button is drawn anew: give the focus back to it.
    const redraw = () => {
      const at = [...choices.children].indexOf(document.activeElement);
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
    for (const event of ["pointerenter", "focus"]) node.addEventListener(event, () => { say(text); light(id); });
    for (const event of ["pointerleave", "blur"]) node.addEventListener(event, () => { say(""); light(null); });
    picture.append(node);
  }
  const meter = element("meter", { min: 0, max: 4, value: 0 });
  const energy = element("p", { className: "status" });
  energy.dataset.testid = `energy-${key}`;
  meter.setAttribute("aria-label", `${title}: energy over the true completion's`);
  box.append(element("p", { className: "title", textContent: title }), picture, meter, energy, element("p", { className: "soft", textContent: claim }));
  const show = (values, chosen, seen, candidate) => {
    for (const [id, source] of [["x", seen], ["y", candidate]]) {
      if (source) images[id].setAttribute("href", source); else images[id].removeAttribute("href");
    }
    const known = values && values.length > chosen && values[0] > 0;
    meter.hidden = !known;
    if (known) meter.value = Math.min(4, values[chosen] / values[0]);
    energy.textContent = known ? `energy ${(values[chosen] / values[0]).toFixed(2)} times the true completion's` : "";
  };
  return { key, box, show };
}
