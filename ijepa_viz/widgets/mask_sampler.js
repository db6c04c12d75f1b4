// MaskSampler: sliders of the sampler, a few of its masks, and the distribution of context over many masks.

const WARM = ["#E69F00", "#D55E00", "#CC79A7", "#F0E442"];
const BARS = [260, 120];  // size of the distribution

export default {
  render({ model, el }) {
    const [rows, cols] = model.get("grid");
    el.append(element("style", { textContent: STYLE }));
    const root = element("div", { className: "ijv" });
    keepKeys(root);
    const left = element("div"), right = element("div");
    left.style.cssText = "max-width: min(340px, 100%); min-width: 0";
    right.style.cssText = "max-width: 100%; min-width: 0";
    const alertBox = element("div");
    alertBox.setAttribute("role", "alert");
    const summary = element("p", { className: "status" });
    summary.setAttribute("aria-live", "polite");
    summary.dataset.testid = "summary";

    const ask = () => { model.set("seq", model.get("seq") + 1); model.save_changes(); };
    const fields = [];
    const line = (text, tip, ...nodes) => {
      const row = element("div", { className: "bar", title: tip });
      row.append(element("label", {}, text, ...nodes));
      left.append(row);
      return row;
    };
    const menu = (name, options, text, tip) => {
      const node = element("select");
      for (const [value, words] of options) node.append(element("option", { value, textContent: words }));
      node.onchange = () => { model.set(name, node.value); ask(); };
      fields.push([name, () => { node.value = model.get(name); }]);
      return line(text, tip, node);
    };
    // A slider with a partner pushes it along: the smallest is never above the largest.
    const slider = (name, text, low, high, step, tip, partner, apart) => {
      const node = element("input", { type: "range", min: low, max: high, step });
      const shown = element("output");
      const show = () => { node.value = model.get(name); shown.textContent = String(model.get(name)); };
      node.oninput = () => {
        const value = Number(node.value);
        model.set(name, value);
        if (partner && apart(value, model.get(partner))) model.set(partner, value);
        shown.textContent = node.value;
        ask();
      };
      fields.push([name, show]);
      return line(text, tip, node, shown);
    };
    const above = (value, other) => value > other, below = (value, other) => value < other;
    menu("strategy", model.get("strategies").map((s) => [s, s]), "strategy", "How targets and context are laid out (table 6 of the paper)");
    const multiblock = [
      menu("mode", [["unbiased", "unbiased (ours)"], ["faithful", "faithful (to the reference code)"]], "mode",
        "faithful repeats the reference sampler's habits, the starved bottom rows included"),
      slider("targets", "target blocks", 1, 8, 1, "Number of target blocks; 4 in the paper"),
      slider("scale_low", "smallest target", 0.02, 0.6, 0.01, "Share of the picture", "scale_high", above),
      slider("scale_high", "largest target", 0.02, 0.6, 0.01, "Share of the picture", "scale_low", below),
      slider("aspect_low", "flattest target", 0.25, 4, 0.05, "Height over width", "aspect_high", above),
      slider("aspect_high", "tallest target", 0.25, 4, 0.05, "Height over width", "aspect_low", below),
      slider("context_low", "smallest context block", 0.1, 1, 0.05, "Share of the picture, before the targets are removed"),
    ];
    const share = slider("scale", "hidden share", 0.1, 0.95, 0.05, "For the strategies block and random");
    slider("seed", "seed", 0, 99, 1, "Seed of the masks");
    left.append(summary, alertBox);

    const strip = element("div", { className: "strip" });
    const heat = element("canvas", { width: 200, height: Math.round((200 * rows) / cols) });
    const bars = element("canvas", { width: 2 * BARS[0], height: 2 * BARS[1] });  // sharp on a screen of twice the pixels
    bars.style.cssText = `width: ${BARS[0]}px; max-width: 100%; box-sizing: border-box`;
    for (const canvas of [heat, bars]) canvas.setAttribute("role", "img");
    heat.dataset.testid = "heat";
    const words = [element("p", { className: "soft" }), element("p", { className: "soft" })];
    const key = element("p", { className: "soft", textContent: "Blue: context. Warm colours, hatched: targets. Blue and hatched: both. Grey: neither." });
    right.append(strip, key, heat, words[0], bars, words[1]);
    root.append(left, right);
    el.append(root);

    function draw() {
      const css = getComputedStyle(root), ink = css.color;
      const context = css.getPropertyValue("--context"), empty = css.getPropertyValue("--empty");
      const masks = model.get("masks");
      while (strip.children.length > masks.length) strip.lastChild.remove();
      masks.forEach((text, n) => {
        if (!strip.children[n]) strip.append(element("canvas", { width: 96, height: Math.round((96 * rows) / cols) }));
        const canvas = strip.children[n], pen = canvas.getContext("2d");
        const w = canvas.width / cols, h = canvas.height / rows;
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", `Mask ${n + 1}: ${[...text].filter((c) => c === "c" || c === "x").length} context patches`);
        [...text].forEach((cell, i) => {
          const x = (i % cols) * w, y = Math.floor(i / cols) * h;
          pen.fillStyle = cell === "c" || cell === "x" ? context : cell === "." ? empty : WARM[Number(cell) % WARM.length];
          pen.fillRect(x, y, w, h);
          if (cell === "c" || cell === ".") return;
          pen.strokeStyle = "rgba(0,0,0,.45)"; pen.lineWidth = 1;
          pen.beginPath(); pen.moveTo(x, y + h); pen.lineTo(x + w, y); pen.stroke();
        });
        pen.strokeStyle = "rgba(255,255,255,.6)"; pen.lineWidth = 1;
        for (let c = 1; c < cols; c++) { pen.beginPath(); pen.moveTo(c * w, 0); pen.lineTo(c * w, canvas.height); pen.stroke(); }
        for (let r = 1; r < rows; r++) { pen.beginPath(); pen.moveTo(0, r * h); pen.lineTo(canvas.width, r * h); pen.stroke(); }
      });

      const shares = model.get("context_share"), pen = heat.getContext("2d");
      const w = heat.width / cols, h = heat.height / rows;
      shares.forEach((value, i) => {
        pen.fillStyle = viridis(value);
        pen.fillRect((i % cols) * w, Math.floor(i / cols) * h, w + 1, h + 1);
      });
      const percentOfRows = (from, to) => {
        const inside = shares.filter((_, i) => Math.floor(i / cols) >= from && Math.floor(i / cols) < to);
        return inside.length ? Math.round((100 * inside.reduce((a, b) => a + b, 0)) / inside.length) : 0;
      };
      const part = Math.max(1, Math.floor(rows / 3));  // a third of the picture
      words[0].textContent = `How often each patch is context, dark never, bright always, over ${model.get("many")} masks: ` +
        `top rows ${percentOfRows(0, part)} %, bottom rows ${percentOfRows(rows - part, rows)} %.`;
      heat.setAttribute("aria-label", words[0].textContent);

      const counts = model.get("context_counts"), most = Math.max(1, ...counts), brush = bars.getContext("2d");
      const [wide, tall] = BARS, floor = tall - 20, each = wide / Math.max(1, counts.length);
      brush.setTransform(2, 0, 0, 2, 0, 0);
      brush.clearRect(0, 0, wide, tall);
      counts.forEach((n, i) => {
        brush.fillStyle = context;
        const height = ((floor - 4) * n) / most;
        brush.fillRect(i * each, floor - height, Math.max(1, each - 1), height);
      });
      brush.fillStyle = ink;
      brush.font = "11px system-ui, sans-serif";
      brush.fillText("0", 1, tall - 6);
      const end = String(counts.length - 1);
      brush.fillText(end, wide - brush.measureText(end).width - 1, tall - 6);
      words[1].textContent = "How many context patches a mask has, from none to all.";
      bars.setAttribute("aria-label", `${words[1].textContent} ${model.get("summary")}`);
      summary.textContent = model.get("summary");
      summary.dataset.shown = model.get("result_seq");
      alertBox.textContent = model.get("error");
      for (const row of multiblock) row.hidden = model.get("strategy") !== "multiblock";
      share.hidden = !["block", "random"].includes(model.get("strategy"));
    }
    const complain = (text) => { alertBox.textContent = text; };
    const stopWatching = watchKernel(model, complain);
    const reactions = [...["masks", "context_share", "context_counts", "summary", "error", "result_seq", "strategy"].map((n) => [n, draw]), ...fields];
    reactions.forEach(([name, react]) => model.on(`change:${name}`, react));
    fields.forEach(([, show]) => show());
    draw();
    const stopRedrawing = redrawInPageColours(root, draw);
    return () => { stopWatching(); stopRedrawing(); reactions.forEach(([name, react]) => model.off(`change:${name}`, react)); };
  },
};
