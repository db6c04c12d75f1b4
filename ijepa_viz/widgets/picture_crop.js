// Choice of the square of an own picture: drag to move, wheel, slider or + and - to zoom, arrows to move.

const CLOSEST = 8;

// Shows the panel over ``left``; done(part) gets (left, top, width, height) in the picture's pixels, or null.
function cropPanel(left, image, done) {
  const view = 320, { naturalWidth: width, naturalHeight: height } = image, whole = Math.min(width, height);
  let zoom = 1, x = width / 2, y = height / 2;  // the square's centre
  const canvas = element("canvas", { width: view, height: view, tabIndex: 0 });
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", "The square of your picture that is used. Arrow keys move it, plus and minus zoom.");
  const slider = element("input", { type: "range", min: 1, max: CLOSEST, step: 0.05, value: 1 });
  const panel = element("div", { className: "crop" },
    element("p", { className: "soft", textContent: "Drag to move, scroll to zoom: what you see here is used." }),
    canvas, element("label", {}, "zoom", slider));
  panel.setAttribute("role", "group");
  panel.setAttribute("aria-label", "Crop your picture");

  const side = () => whole / zoom;
  const part = () => [x - side() / 2, y - side() / 2, side(), side()];
  const show = () => {
    const half = side() / 2;
    x = Math.min(width - half, Math.max(half, x));
    y = Math.min(height - half, Math.max(half, y));
    slider.value = zoom;
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, view, view);
    pen.imageSmoothingQuality = "high";
    pen.drawImage(image, ...part(), 0, 0, view, view);
  };
  const zoomTo = (value) => { zoom = Math.min(CLOSEST, Math.max(1, value)); show(); };
  const end = (found) => { panel.remove(); done(found); };
  panel.append(element("div", { className: "bar" },
    element("button", { type: "button", textContent: "Use this square", onclick: () => end(part().map(Math.round)) }),
    element("button", { type: "button", textContent: "Cancel", onclick: () => end(null) })));

  slider.oninput = () => zoomTo(Number(slider.value));
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoomTo(zoom * (event.deltaY < 0 ? 1.1 : 1 / 1.1)); });
  canvas.addEventListener("pointerdown", (event) => { event.preventDefault(); canvas.focus(); canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    const scale = side() / canvas.getBoundingClientRect().width;
    x -= event.movementX * scale;
    y -= event.movementY * scale;
    show();
  });
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
