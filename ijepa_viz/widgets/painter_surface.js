// The drawing surface that every painting widget shares: a picture, a patch grid, a mask.
// The mask lives in the model as a string of "0" and "1" (1 = hidden), rows one after the other.

const STYLE = `
.ijv { --ink: #1d1d1f; --paper: #ffffff; --line: #6b6b70; --mask: #D55E00; --focus: #0072B2;
       color: var(--ink); background: var(--paper); font: 14px/1.4 system-ui, sans-serif; padding: 8px;
       display: flex; flex-wrap: wrap; gap: 16px; border-radius: 6px; }
@media (prefers-color-scheme: dark) { .ijv { --ink: #f2f2f4; --paper: #1b1b1f; --line: #9a9aa2; --focus: #56B4E9; } }
body[data-jp-theme-light="true"] .ijv { --ink: #1d1d1f; --paper: #ffffff; --line: #6b6b70; --focus: #0072B2; }
body[data-jp-theme-light="false"] .ijv { --ink: #f2f2f4; --paper: #1b1b1f; --line: #9a9aa2; --focus: #56B4E9; }
.ijv canvas { touch-action: none; cursor: crosshair; border: 1px solid var(--line); border-radius: 4px; }
.ijv :focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
.ijv .bar { display: flex; flex-wrap: wrap; gap: 6px; margin: 0 0 6px; align-items: center; }
.ijv button, .ijv select, .ijv input { font: inherit; color: var(--ink); background: var(--paper);
       border: 1px solid var(--line); border-radius: 4px; padding: 2px 8px; }
.ijv input[type=number] { width: 4.5em; }
.ijv button:disabled { opacity: .55; }
.ijv .status { margin: 4px 0 0; min-height: 1.4em; }
.ijv [role=alert] { color: #fff; background: #a8330a; padding: 4px 8px; border-radius: 4px; margin: 4px 0; }
.ijv [role=alert]:empty { display: none; }
.ijv .strip { display: flex; flex-wrap: wrap; gap: 6px; max-width: 480px; }
.ijv .strip img { width: 140px; height: 140px; image-rendering: pixelated; border-radius: 4px; border: 1px solid var(--line); }
.ijv label { display: inline-flex; gap: 4px; align-items: center; }
`;

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function paintingSurface(model, host) {
  const side = 320;
  const [rows, cols] = model.get("grid");
  let cells = Array.from(model.get("mask"), (c) => c === "1");
  let cursor = { row: Math.floor(rows / 2), col: Math.floor(cols / 2) };
  let keyboard = false;
  let stroke = null;
  const undone = [], done = [];

  host.append(element("style", { textContent: STYLE }));
  const root = element("div", { className: "ijv" });
  const left = element("div");
  const canvas = element("canvas", { width: side, height: Math.round((side * rows) / cols), tabIndex: 0 });
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", `Mask painter, ${rows} by ${cols} patches. Arrow keys move, space hides or shows a patch, Control Z takes back.`);
  canvas.dataset.testid = "painter";
  const status = element("p", { className: "status" });
  status.setAttribute("aria-live", "polite");
  const alertBox = element("div");
  alertBox.setAttribute("role", "alert");
  const picture = new Image();
  picture.onload = draw;

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
  left.append(bar, canvas, status, alertBox);
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
      pen.fillStyle = "rgba(213, 94, 0, 0.72)";
      pen.fillRect(x, y, w, h);
      // A hatch, so that the mask shows on a picture of its own colour as well.
      pen.save();
      pen.beginPath(); pen.rect(x, y, w, h); pen.clip();
      pen.strokeStyle = "rgba(255, 255, 255, 0.75)"; pen.lineWidth = 1.5;
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
    const text = `${count} of ${rows * cols} patches hidden`;
    if (status.textContent !== text) status.textContent = text;
    buttons.undo.disabled = !done.length;
    buttons.redo.disabled = !undone.length;
  }

  function publish() {
    model.set("mask", cells.map((c) => (c ? "1" : "0")).join(""));
    model.set("seq", model.get("seq") + 1);
    model.save_changes();
    draw();
  }

  function commit(next) {
    done.push(cells.slice());
    undone.length = 0;
    cells = next;
    publish();
  }

  function travel(from, to) {
    if (!from.length) return;
    to.push(cells.slice());
    cells = from.pop();
    publish();
  }

  function locate(event) {
    const box = canvas.getBoundingClientRect();
    const col = Math.floor(((event.clientX - box.left) / box.width) * cols);
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
    return { row: Math.min(rows - 1, Math.max(0, row)), col: Math.min(cols - 1, Math.max(0, col)) };
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 0 || stroke) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    keyboard = false;
    const at = locate(event);
    // A stroke that starts on a hidden patch erases.
    stroke = { id: event.pointerId, hide: !cells[at.row * cols + at.col], before: cells.slice(), at };
    cells[at.row * cols + at.col] = stroke.hide;
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!stroke || event.pointerId !== stroke.id) return;
    const to = locate(event), from = stroke.at;
    const steps = Math.max(Math.abs(to.row - from.row), Math.abs(to.col - from.col), 1);
    for (let s = 0; s <= steps; s++) {  // fast pens skip patches between two events
      const row = Math.round(from.row + ((to.row - from.row) * s) / steps);
      const col = Math.round(from.col + ((to.col - from.col) * s) / steps);
      cells[row * cols + col] = stroke.hide;
    }
    stroke.at = to;
    draw();
  });
  const end = (event) => {
    if (!stroke || event.pointerId !== stroke.id) return;
    done.push(stroke.before);
    undone.length = 0;
    stroke = null;
    publish();
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const command = event.ctrlKey || event.metaKey;
    if (moves[event.key] && !command) {
      cursor.row = (cursor.row + moves[event.key][0] + rows) % rows;
      cursor.col = (cursor.col + moves[event.key][1] + cols) % cols;
    } else if (event.key === " " || event.key === "Enter") {
      const next = cells.slice();
      next[cursor.row * cols + cursor.col] = !next[cursor.row * cols + cursor.col];
      keyboard = true;
      commit(next);
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
    cells = Array.from(model.get("mask"), (c) => c === "1");
    draw();
  };
  const onImage = () => { picture.src = model.get("image"); };
  const onError = () => { alertBox.textContent = model.get("error"); };
  model.on("change:mask", onMask);
  model.on("change:image", onImage);
  model.on("change:error", onError);
  onImage(); onError(); draw();

  const cleanUp = () => {
    model.off("change:mask", onMask);
    model.off("change:image", onImage);
    model.off("change:error", onError);
  };
  return { root, left, canvas, cleanUp };
}
