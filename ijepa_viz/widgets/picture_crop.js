// Choice of the part of an own picture, a square or of other proportions: drag or arrows move it; wheel, two fingers, slider or + and - zoom.

const CLOSEST = 8;

// Shows the panel over ``left``; done(part) gets (left, top, width, height) in the picture's pixels, or null. ``shape``
// is the width of the part over its height, ``face`` where to begin: (left, top, width, height) as shares of the picture's.
function cropPanel(left, image, done, shape = 1, face = []) {
  const view = 320, tall = Math.round(view / shape);
  const { naturalWidth: width, naturalHeight: height } = image, whole = Math.min(width, height * shape);
  const what = shape === 1 ? "square" : "part";
  let zoom = 1, x = width / 2, y = height / 2;  // the part's centre
  const canvas = element("canvas", { width: view, height: tall, tabIndex: 0 });
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", `The ${what} of your picture that is used. Arrow keys move it, plus and minus zoom.`);
  const slider = element("input", { type: "range", min: 1, max: CLOSEST, step: 0.05, value: 1 });
  const panel = element("div", { className: "crop" },
    element("p", { className: "soft", textContent:
      `${face.length ? "A cat's face was found. " : ""}Drag to move, scroll to zoom: what you see here is used.` }),
    canvas, element("label", {}, "zoom", slider));
  panel.setAttribute("role", "group");
  panel.setAttribute("aria-label", "Crop your picture");

  const side = () => whole / zoom;
  const part = () => [x - side() / 2, y - side() / shape / 2, side(), side() / shape];
  // In whole pixels, at least one, and none beyond the picture's edge: those would be white.
  const wholePixels = () => {
    const [left, top, across, down] = part().map(Math.round);
    const wide = Math.min(width, Math.max(1, across)), high = Math.min(height, Math.max(1, down));
    return [Math.min(width - wide, Math.max(0, left)), Math.min(height - high, Math.max(0, top)), wide, high];
  };
  const show = () => {
    const across = side() / 2, down = side() / shape / 2;
    x = Math.min(width - across, Math.max(across, x));
    y = Math.min(height - down, Math.max(down, y));
    slider.value = zoom;
    slider.setAttribute("aria-valuetext", `${zoom.toFixed(1)} times`);
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, view, tall);
    pen.imageSmoothingQuality = "high";
    pen.drawImage(image, ...part(), 0, 0, view, tall);
  };
  const zoomTo = (value) => { zoom = Math.min(CLOSEST, Math.max(1, value)); show(); };
  const end = (found) => { panel.remove(); done(found); };
  panel.append(element("div", { className: "bar" },
    element("button", { type: "button", textContent: `Use this ${what}`, onclick: () => end(wholePixels()) }),
    element("button", { type: "button", textContent: "Cancel", onclick: () => end(null) })));

  slider.oninput = () => zoomTo(Number(slider.value));
  canvas.addEventListener("wheel", (event) => {
    if (!event.deltaY) return;  // sideways
    event.preventDefault();
    zoomTo(zoom * (event.deltaY < 0 ? 1.1 : 1 / 1.1));
  });
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
    if (event.ctrlKey || event.metaKey || event.altKey) return;  // the browser's: zoom of the page, back
    const moves = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }, zooms = { "+": 1.1, "=": 1.1, "-": 1 / 1.1 };
    if (moves[event.key]) {
      x += (moves[event.key][0] * side()) / 20;
      y += (moves[event.key][1] * side()) / 20;
      show();
    } else if (zooms[event.key]) zoomTo(zoom * zooms[event.key]);
    else return;
    event.preventDefault();
  });
  panel.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    end(null);
  });
  if (face.length) {
    x = (face[0] + face[2] / 2) * width;
    y = (face[1] + face[3] / 2) * height;
    zoom = Math.min(CLOSEST, Math.max(1, whole / (face[2] * width)));
  }
  left.querySelector(".crop")?.remove();
  left.append(panel);
  show();
  canvas.focus({ preventScroll: true });
}

// The square around a cat's face, (left, top, width, height) as shares of the picture's; [] where none is found or the kernel
// is busy. The kernel gets a small copy of the picture.
const FACE_SIDE = 384, FACE_WAIT = 2000;

function findFace(model, image) {
  if (!model.get("finds_faces")) return [];
  const { naturalWidth: width, naturalHeight: height } = image, shrink = Math.min(1, FACE_SIDE / Math.max(width, height));
  const canvas = element("canvas", { width: Math.max(1, Math.round(width * shrink)), height: Math.max(1, Math.round(height * shrink)) });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  const number = (model.get("face_wanted").number ?? 0) + 1;
  return new Promise((give) => {
    const end = (part) => { clearTimeout(patience); model.off("change:face_found", answered); give(part); };
    const answered = () => { if (model.get("face_found").number === number) end(model.get("face_found").part); };
    const patience = setTimeout(() => end([]), FACE_WAIT);
    model.on("change:face_found", answered);
    model.set("face_wanted", { number, picture: canvas.toDataURL("image/jpeg", 0.9) });
    model.save_changes();
  });
}
