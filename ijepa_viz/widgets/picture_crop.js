// Choice of the part of an own picture, a square or of other proportions: drag or arrows move it; wheel, two fingers, slider or + and - zoom.

const CLOSEST = 8;

// Shows the panel over ``left``; done(part) gets (left, top, width, height) in the picture's pixels, or null. ``shape``
// is the width of the part over its height.
function cropPanel(left, image, done, shape = 1) {
  const view = 320, tall = Math.round(view / shape);
  const { naturalWidth: width, naturalHeight: height } = image, whole = Math.min(width, height * shape);
  const what = shape === 1 ? "square" : "part";
  let zoom = 1, x = width / 2, y = height / 2;  // the part's centre
  const canvas = element("canvas", { width: view, height: tall, tabIndex: 0 });
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", `The ${what} of your picture that is used. Arrow keys move it, plus and minus zoom.`);
  const slider = element("input", { type: "range", min: 1, max: CLOSEST, step: 0.05, value: 1 });
  const panel = element("div", { className: "crop" },
    element("p", { className: "soft", textContent: "Drag to move, scroll to zoom: what you see here is used." }),
    canvas, element("label", {}, "zoom", slider));
  panel.setAttribute("role", "group");
  panel.setAttribute("aria-label", "Crop your picture");

  const side = () => whole / zoom;
  const part = () => [x - side() / 2, y - side() / shape / 2, side(), side() / shape];
  const show = () => {
    const across = side() / 2, down = side() / shape / 2;
    x = Math.min(width - across, Math.max(across, x));
    y = Math.min(height - down, Math.max(down, y));
    slider.value = zoom;
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, view, tall);
    pen.imageSmoothingQuality = "high";
    pen.drawImage(image, ...part(), 0, 0, view, tall);
  };
  const zoomTo = (value) => { zoom = Math.min(CLOSEST, Math.max(1, value)); show(); };
  const end = (found) => { panel.remove(); done(found); };
  panel.append(element("div", { className: "bar" },
    element("button", { type: "button", textContent: `Use this ${what}`, onclick: () => end(part().map(Math.round)) }),
    element("button", { type: "button", textContent: "Cancel", onclick: () => end(null) })));

  slider.oninput = () => zoomTo(Number(slider.value));
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoomTo(zoom * (event.deltaY < 0 ? 1.1 : 1 / 1.1)); });
  const held = new Map();  // pointer -> where it was last
  const middle = () => [...held.values()].reduce(([a, b], [c, d]) => [a + c / held.size, b + d / held.size], [0, 0]);
  const spread = () => { const [p, q] = [...held.values()]; return q ? Math.hypot(p[0] - q[0], p[1] - q[1]) : 0; };
  canvas.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    held.set(event.pointerId, [event.clientX, event.clientY]);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held.has(event.pointerId)) return;
    const [left, top] = middle(), before = spread();
    held.set(event.pointerId, [event.clientX, event.clientY]);
    const scale = side() / canvas.getBoundingClientRect().width, [right, bottom] = middle();
    x -= (right - left) * scale;
    y -= (bottom - top) * scale;
    zoomTo(before > 0 ? (zoom * spread()) / before : zoom);
  });
  for (const type of ["pointerup", "pointercancel"]) canvas.addEventListener(type, (event) => held.delete(event.pointerId));
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }, zooms = { "+": 1.1, "=": 1.1, "-": 1 / 1.1 };
    if (moves[event.key]) {
      x += (moves[event.key][0] * side()) / 20;
      y += (moves[event.key][1] * side()) / 20;
      show();
    } else if (zooms[event.key]) zoomTo(zoom * zooms[event.key]);
    else return;
    event.preventDefault();
  });
  panel.addEventListener("keydown", (event) => { if (event.key === "Escape") end(null); });
  left.querySelector(".crop")?.remove();
  left.append(panel);
  show();
  canvas.focus({ preventScroll: true });
}
