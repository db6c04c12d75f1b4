// RunMonitor: live curves of a training run, with their values where one points, and the verdict in words.

const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7"];

export default {
  render({ model, el }) {
    el.append(element("style", { textContent: STYLE }));
    const root = element("div", { className: "ijv" });
    keepKeys(root);
    root.style.flexDirection = "column";
    const verdict = element("p", { className: "status" });
    verdict.setAttribute("aria-live", "polite");
    verdict.dataset.testid = "verdict";
    const alertBox = element("div");
    alertBox.setAttribute("role", "alert");
    const progress = element("progress", { max: 1, value: 0 });
    progress.setAttribute("aria-label", "Completed share of the run");
    const words = element("span", { className: "soft" });
    const head = element("div", { className: "bar" });
    head.append(progress, words);
    const panels = element("div", { className: "strip" });
    panels.style.cssText = "max-width: 960px; width: 100%";
    root.append(head, verdict, alertBox, panels);
    el.append(root);

    // The number of images that is pointed at; every panel shows its values there. null: the newest ones.
    let at = null;
    const point = (images) => { at = images; draw(); };

    function draw() {
      const css = getComputedStyle(root);
      progress.value = model.get("progress");
      words.textContent = model.get("status");
      verdict.textContent = model.get("verdict");
      alertBox.textContent = model.get("error");
      const shown = model.get("panels");
      while (panels.children.length > shown.length) panels.lastChild.remove();
      shown.forEach((panel, i) => {
        if (!panels.children[i]) panels.append(chartFrame(point));
        chart(panels.children[i], panel, css.color, css.getPropertyValue("--line"), at);
      });
      panels.dataset.shown = model.get("tick");
    }
    const names = ["panels", "verdict", "progress", "status", "error", "tick"];
    names.forEach((name) => model.on(`change:${name}`, draw));
    draw();
    const stopRedrawing = redrawInPageColours(root, draw);
    return () => { stopRedrawing(); names.forEach((name) => model.off(`change:${name}`, draw)); };
  },
};

// Sides of the curves' frame in the canvas, which is 280 x 170.
const FRAME = { left: 54, top: 8, right: 272, bottom: 148 };

// A pointer or a finger on the curves, or arrows, Page Up and Down, Home and End, say where to read; Escape goes back to
// the newest.
function chartFrame(point) {
  const canvas = element("canvas", { width: 560, height: 340, tabIndex: 0 });
  canvas.style.cssText = "width:280px;max-width:100%;aspect-ratio:280/170;touch-action:pan-y;box-sizing:border-box";
  canvas.setAttribute("role", "slider");
  const to = (share) => {
    const [low, high] = canvas.range || [0, 0];
    point(low + Math.min(1, Math.max(0, share)) * (high - low));
  };
  const look = (event) => {
    const box = canvas.getBoundingClientRect();
    to((((event.clientX - box.left) / box.width) * 280 - FRAME.left) / (FRAME.right - FRAME.left));
  };
  canvas.addEventListener("pointerdown", look);
  canvas.addEventListener("pointermove", look);
  canvas.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") point(null); });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;  // the browser's
    const { points = [], at = 0 } = canvas, last = points.length - 1, far = Math.max(1, Math.round(last / 10));
    const places = {
      ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1,
      PageDown: at - far, PageUp: at + far, Home: 0, End: last,
    };
    if (event.key === "Escape") point(null);
    else if (places[event.key] !== undefined && points.length) point(points[Math.min(last, Math.max(0, places[event.key]))]);
    else return;
    event.preventDefault();
  });
  canvas.title = "Point, or use the arrow keys, to read values";
  const legend = element("p", { className: "soft" });
  legend.style.minHeight = "2.8em";  // longer words do not move the panels below
  const figure = element("figure", {}, element("figcaption"), canvas, legend);
  figure.style.cssText = "margin:0;width:290px;max-width:100%";
  return figure;
}

function chart(figure, panel, ink, line, at) {
  const [caption, canvas, legend] = figure.children;
  caption.textContent = panel.title;
  const pen = canvas.getContext("2d");
  pen.setTransform(2, 0, 0, 2, 0, 0);
  pen.clearRect(0, 0, 280, 170);
  const points = panel.lines.flatMap((l) => l.points);
  legend.replaceChildren();
  canvas.setAttribute("aria-label", panel.title);
  const say = (last, now, words) => {
    for (const [name, value] of [["min", 0], ["max", last], ["now", now], ["text", words]]) canvas.setAttribute(`aria-value${name}`, value);
  };
  if (!points.length) return say(0, 0, "nothing measured yet");
  // A logarithmic axis shows no zero: such points lie on its lower end.
  const least = Math.min(...points.map((p) => p[1]).filter((v) => v > 0), Number.MAX_VALUE);
  const scaled = (v) => (panel.logarithmic ? Math.log10(Math.max(v, least)) : v);
  const xs = points.map((p) => p[0]), ys = points.map((p) => scaled(p[1]));
  const box = FRAME;
  const x1 = Math.max(...xs);  // from no picture on, so that the panels can be read beside each other
  let [y0, y1] = [Math.min(...ys), Math.max(...ys)];
  if (y0 === y1) { y0 -= Math.abs(y0) * 0.1 + 1e-6; y1 += Math.abs(y1) * 0.1 + 1e-6; }
  const px = (x) => box.left + (x / (x1 || 1)) * (box.right - box.left);
  const py = (y) => box.bottom - ((y - y0) / (y1 - y0)) * (box.bottom - box.top);
  pen.strokeStyle = line; pen.lineWidth = 1;
  pen.strokeRect(box.left, box.top, box.right - box.left, box.bottom - box.top);
  pen.fillStyle = ink; pen.font = "11px system-ui, sans-serif"; pen.textAlign = "right";
  const figures = (v) => (v !== 0 && Math.abs(v) < 1e-3 ? v.toExponential(1) : Math.abs(v) >= 100 ? v.toFixed(0) : v.toPrecision(3));
  const ends = [y1, y0].map((y) => (panel.logarithmic ? 10 ** y : y));
  pen.fillText(figures(ends[0]), box.left - 4, box.top + 9);
  pen.fillText(figures(ends[1]), box.left - 4, box.bottom);
  pen.fillText("0", box.left + 4, box.bottom + 14);
  pen.fillText(`${Math.round(x1).toLocaleString("en")} images`, box.right, box.bottom + 14);
  canvas.range = [0, x1];
  canvas.points = [...new Set(xs)].sort((a, b) => a - b);
  const nearest = (among, x) => among.reduce((best, v, i) => (Math.abs(v - x) < Math.abs(among[best] - x) ? i : best), 0);
  canvas.at = at === null ? canvas.points.length - 1 : nearest(canvas.points, at);
  const here = canvas.points[canvas.at], where = at === null ? "now" : `at ${Math.round(here).toLocaleString("en")} images`;
  if (at !== null) {
    pen.strokeStyle = ink; pen.lineWidth = 1;
    pen.beginPath(); pen.moveTo(px(here), box.top); pen.lineTo(px(here), box.bottom); pen.stroke();
    legend.append(`${where}: `);
  }
  const said = [];
  panel.lines.forEach((l, n) => {
    if (!l.points.length) return;
    pen.strokeStyle = COLOURS[n % COLOURS.length]; pen.lineWidth = 1.8;
    pen.setLineDash(l.control ? [5, 4] : []);
    pen.beginPath();
    l.points.forEach(([x, y], i) => (i ? pen.lineTo(px(x), py(scaled(y))) : pen.moveTo(px(x), py(scaled(y)))));
    pen.stroke();
    pen.setLineDash([]);
    if (l.points.length < 12) {
      pen.fillStyle = COLOURS[n % COLOURS.length];
      for (const [x, y] of l.points) { pen.beginPath(); pen.arc(px(x), py(scaled(y)), 2.5, 0, 7); pen.fill(); }
    }
    const swatch = element("span", { textContent: l.control ? "▱ " : "■ " });
    swatch.style.color = COLOURS[n % COLOURS.length];
    swatch.setAttribute("aria-hidden", "true");
    const value = figures((at === null ? l.points.at(-1) : l.points[nearest(l.points.map((p) => p[0]), here)])[1]);
    const entry = element("span", {}, swatch, `${l.name} ${value}`);
    entry.style.cssText = "white-space:nowrap;margin-right:10px";
    legend.append(entry, " ");
    said.push(`${l.name} ${where} ${value}`);
  });
  say(x1, here, said.join(", "));
}
