// Drawing surface of the painting widgets: a picture, a patch grid, a mask.
// The mask lives in the model as a string of "0" and "1" (1 = hidden), rows one after the other.

// Most strokes that can be undone.
const KEPT_STROKES = 200;

// Options: opaque, whether nothing of what is hidden shows; take(file), what is done with a chosen picture; saves,
// further [label, tip, act] of the menu of files.
function paintingSurface(model, host, { opaque = false, take, saves = [] } = {}) {
  const side = 320;
  const [rows, cols] = model.get("grid");
  let cells = Array.from(model.get("mask"), (c) => c === "1");
  let cursor = { row: Math.floor(rows / 2), col: Math.floor(cols / 2) };
  let keyboard = false, peeking = false;
  let stroke = null;
  let tool = "brush", size = 1, drawnSeed = null;
  const undone = [], done = [];

  host.append(element("style", { textContent: STYLE }));
  const root = element("div", { className: "ijv" });
  keepKeys(root);
  const left = element("div", { className: "painting" });
  const canvas = element("canvas", { width: side, height: Math.round((side * rows) / cols), tabIndex: 0 });
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", `Mask painter, ${rows} by ${cols} patches. Arrow keys move, space hides or shows ` +
    "a patch, Shift and an arrow hides along the way, Control Z takes back.");
  canvas.dataset.testid = "painter";
  const status = element("p", { className: "status" });
  status.setAttribute("aria-live", "polite");
  const alertBox = element("div");
  alertBox.setAttribute("role", "alert");
  const picture = new Image();
  picture.onload = draw;

  const tools = element("div", { className: "bar" });
  const toolButtons = {};
  for (const [name, label, tip] of [
    ["brush", "Brush", "Drag to hide patches; a drag that starts on a hidden patch shows them again"],
    ["block", "Block", "Drag from corner to corner to hide a whole block"],
  ]) {
    toolButtons[name] = element("button", {
      type: "button", textContent: label, title: tip, onclick: () => { tool = name; draw(); },
    });
    tools.append(toolButtons[name]);
  }
  const sizes = element("select", { title: "How many patches the brush is wide", onchange: () => { size = Number(sizes.value); } });
  for (const n of [1, 2, 3]) sizes.append(element("option", { value: n, textContent: n }));
  tools.append(element("label", {}, "width", sizes));
  const paper = model.get("paper_masks") || [];
  if (paper.length) {
    tools.append(element("button", {
      type: "button", textContent: "Draw one for me",
      title: "Four target blocks as in pretraining; each press takes the next seed",
      onclick: () => {
        drawnSeed = drawnSeed === null ? 0 : (drawnSeed + 1) % paper.length;
        commit(Array.from(paper[drawnSeed], (c) => c === "1"), drawnSeed);
      },
    }));
  }

  const buttons = {};
  const bar = element("div", { className: "bar" });
  for (const [name, label, tip, act] of [
    ["undo", "Undo", "Take the last stroke back (Ctrl+Z)", () => travel(done, undone)],
    ["redo", "Redo", "Bring it back (Ctrl+Shift+Z)", () => travel(undone, done)],
    ["clear", "Clear", "Show every patch", () => commit(cells.map(() => false))],
    ["invert", "Invert", "Hide what is shown, show what is hidden", () => commit(cells.map((c) => !c))],
  ]) {
    buttons[name] = element("button", { type: "button", textContent: label, title: tip, onclick: act });
    bar.append(buttons[name]);
  }
  if (opaque) bar.append(peekButton((now) => { peeking = now; draw(); }));
  left.append(tools, bar, canvas, status, alertBox);
  root.append(left);
  host.append(root);

  function draw() {
    const pen = canvas.getContext("2d");
    const w = canvas.width / cols, h = canvas.height / rows;
    pen.imageSmoothingEnabled = false;
    pen.fillStyle = "#888";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    if (picture.complete && picture.naturalWidth) pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
    cells.forEach((hidden, i) => {
      if (!hidden) return;
      const x = (i % cols) * w, y = Math.floor(i / cols) * h;
      pen.fillStyle = opaque ? "#55555b" : "rgba(213, 94, 0, 0.72)";
      if (!peeking) pen.fillRect(x, y, w, h);
      // A hatch, so that the mask shows on a picture of its own colour as well.
      pen.save();
      pen.beginPath(); pen.rect(x, y, w, h); pen.clip();
      pen.strokeStyle = `rgba(255, 255, 255, ${opaque ? 0.35 : 0.75})`; pen.lineWidth = 1.5;
      pen.beginPath();
      for (let d = -h; d < w; d += 10) { pen.moveTo(x + d, y + h); pen.lineTo(x + d + h, y); }
      pen.stroke(); pen.restore();
    });
    pen.strokeStyle = "rgba(255, 255, 255, 0.35)"; pen.lineWidth = 1;
    pen.beginPath();
    for (let c = 1; c < cols; c++) { pen.moveTo(c * w, 0); pen.lineTo(c * w, canvas.height); }
    for (let r = 1; r < rows; r++) { pen.moveTo(0, r * h); pen.lineTo(canvas.width, r * h); }
    pen.stroke();
    if (keyboard) {
      pen.strokeStyle = "#fff"; pen.lineWidth = 5;
      pen.strokeRect(cursor.col * w + 2, cursor.row * h + 2, w - 4, h - 4);
      pen.strokeStyle = "#0072B2"; pen.lineWidth = 2.5;
      pen.strokeRect(cursor.col * w + 2, cursor.row * h + 2, w - 4, h - 4);
    }
    const count = cells.filter(Boolean).length;
    const text = `${count} of ${rows * cols} patches hidden` + (drawnSeed === null ? "" : `, drawn with seed ${drawnSeed}`);
    if (status.textContent !== text) status.textContent = text;
    buttons.undo.disabled = !done.length;
    buttons.redo.disabled = !undone.length;
    for (const [name, button] of Object.entries(toolButtons)) button.setAttribute("aria-pressed", String(tool === name));
    sizes.disabled = tool !== "brush";
  }

  function publish(also = () => {}) {
    also();
    model.set("mask", cells.map((c) => (c ? "1" : "0")).join(""));
    model.set("seq", model.get("seq") + 1);
    model.save_changes();
    draw();
  }

  function remember(before) {
    done.push(before);
    if (done.length > KEPT_STROKES) done.shift();
    undone.length = 0;
  }

  // ``also`` sets further traits of the same request.
  function commit(next, seed = null, also = undefined) {
    remember(cells.slice());
    cells = next;
    drawnSeed = seed;
    publish(also);
  }

  function travel(from, to) {
    if (!from.length) return;
    to.push(cells.slice());
    cells = from.pop();
    drawnSeed = null;
    publish();
  }

  function locate(event) {
    const box = canvas.getBoundingClientRect();
    const col = Math.floor(((event.clientX - box.left) / box.width) * cols);
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
    return { row: Math.min(rows - 1, Math.max(0, row)), col: Math.min(cols - 1, Math.max(0, col)) };
  }

  function dab(at) {
    const first = Math.floor((size - 1) / 2);
    for (let r = at.row - first; r < at.row - first + size; r++) {
      for (let c = at.col - first; c < at.col - first + size; c++) {
        if (r >= 0 && r < rows && c >= 0 && c < cols) cells[r * cols + c] = stroke.hide;
      }
    }
  }

  function stretch(to) {
    cells = stroke.before.slice();
    for (let r = Math.min(stroke.start.row, to.row); r <= Math.max(stroke.start.row, to.row); r++) {
      for (let c = Math.min(stroke.start.col, to.col); c <= Math.max(stroke.start.col, to.col); c++) {
        cells[r * cols + c] = stroke.hide;
      }
    }
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 0 || stroke) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    keyboard = false;
    const at = locate(event);
    // A stroke that starts on a hidden patch erases.
    stroke = { id: event.pointerId, hide: !cells[at.row * cols + at.col], before: cells.slice(), start: at, at };
    tool === "block" ? stretch(at) : dab(at);
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!stroke || event.pointerId !== stroke.id) return;
    const to = locate(event), from = stroke.at;
    if (tool === "block") {
      stretch(to);
    } else {
      const steps = Math.max(Math.abs(to.row - from.row), Math.abs(to.col - from.col), 1);
      for (let s = 0; s <= steps; s++) {  // fast pens skip patches between two events
        dab({
          row: Math.round(from.row + ((to.row - from.row) * s) / steps),
          col: Math.round(from.col + ((to.col - from.col) * s) / steps),
        });
      }
    }
    stroke.at = to;
    draw();
  });
  const end = (event) => {
    if (!stroke || event.pointerId !== stroke.id) return;
    remember(stroke.before);
    stroke = null;
    drawnSeed = null;
    publish();
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const command = event.ctrlKey || event.metaKey;
    const here = () => cursor.row * cols + cursor.col;
    if (moves[event.key] && !command) {
      cursor.row = (cursor.row + moves[event.key][0] + rows) % rows;
      cursor.col = (cursor.col + moves[event.key][1] + cols) % cols;
      if (event.shiftKey && !cells[here()]) commit(cells.map((c, i) => c || i === here()));
    } else if (event.key === " " || event.key === "Enter") {
      commit(cells.map((c, i) => (i === here() ? !c : c)));
    } else if (command && event.key.toLowerCase() === "z") {
      event.shiftKey ? travel(undone, done) : travel(done, undone);
    } else {
      return;
    }
    keyboard = true;
    event.preventDefault();  // or JupyterLab's own shortcuts fire
    event.stopPropagation();
    draw();
  });

  const onMask = () => {
    if (stroke) return;
    const text = cells.map((c) => (c ? "1" : "0")).join("");
    if (text === model.get("mask")) return;
    cells = Array.from(model.get("mask"), (c) => c === "1");
    drawnSeed = null;
    draw();
  };
  const complain = (text) => { alertBox.textContent = text; };
  const onImage = () => { picture.src = model.get("image"); };
  const onError = () => complain(model.get("error"));
  const stopWatching = watchKernel(model, complain);
  const changes = { mask: onMask, image: onImage, error: onError };
  for (const [name, react] of Object.entries(changes)) model.on(`change:${name}`, react);
  left.append(fileMenu(model, {
    picture, complain, commit, take, saves, grid: [rows, cols], cells: () => cells, snapshot: () => canvas.toDataURL("image/png"),
  }));
  onImage(); onError(); draw();

  const cleanUp = () => {
    stopWatching();
    for (const [name, react] of Object.entries(changes)) model.off(`change:${name}`, react);
  };
  return { root, left, canvas, complain, commit, cleanUp };
}

// Shows what is hidden for as long as it is held, by pointer or key.
function peekButton(look) {
  const button = element("button", { type: "button", textContent: "Peek", title: "Hold to see what is hidden" });
  const turn = (now) => () => { button.setAttribute("aria-pressed", String(now)); look(now); };
  button.setAttribute("aria-pressed", "false");
  button.style.touchAction = "none";  // a finger that is held neither scrolls nor opens a menu
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  button.addEventListener("pointerdown", turn(true));
  for (const type of ["pointerup", "pointerleave", "pointercancel", "blur"]) button.addEventListener(type, turn(false));
  for (const [type, now] of [["keydown", true], ["keyup", false]]) {
    button.addEventListener(type, (event) => { if ([" ", "Enter"].includes(event.key)) turn(now)(); });
  }
  return button;
}
