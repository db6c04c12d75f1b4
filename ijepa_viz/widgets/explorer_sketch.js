// What somebody expects in a hole, before the reveal: drawn over it, or picked among blocks of pictures. Imports nothing
// but page_parts.js and explorer_parts.js, and knows no kernel: the live page's game can use it as it is.

const PAINTS = [
  ["black", "#1d1d1f"], ["white", "#ffffff"], ["grey", "#8a8a90"], ["brown", "#7a4b25"], ["red", "#c8371b"],
  ["yellow", "#e9c02b"], ["green", "#3c8f3a"], ["blue", "#2f6fc4"],
];
const BRUSHES = [["thin", 6], ["middle", 16], ["thick", 36]];
const SKETCH_SIDE = 320;
const SKETCH_STYLE = `
.ijv .game .sketch canvas[role=application] { width: min(100%, 300px, 38vh); height: auto; display: block; cursor: crosshair; touch-action: none; }
.ijv .sketch .paint { width: 28px; height: 28px; padding: 0; border: 2px solid var(--line); }
.ijv .sketch .paint[aria-pressed=true] { box-shadow: 0 0 0 2px var(--paper), 0 0 0 5px var(--focus); }
.ijv .blocks { display: grid; grid-template-columns: repeat(auto-fill, minmax(84px, 1fr)); gap: 6px; margin: 0 0 6px; }
.ijv .blocks button { padding: 4px; }
.ijv .blocks img { width: 100%; max-width: 120px; height: 84px; object-fit: contain; display: block; margin: 0 auto; image-rendering: pixelated; }
`;

// Draws over the hidden patches only. show({source, hole, grid}) lays a new picture below and forgets the drawing;
// blank() empties it until there is one. drawn() is the picture with the drawing, as a data: URI, or "" without a stroke.
function sketchPad() {
  const canvas = element("canvas", { width: SKETCH_SIDE, height: SKETCH_SIDE, tabIndex: 0 });
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", "Draw what you expect in the hole. Arrow keys move, space paints there, Shift and an " +
    "arrow paints along the way, Control Z takes back. Or pick a block, or write it.");
  canvas.dataset.testid = "sketch";
  const picture = new Image();
  let below = null, strokes = [], stroke = null, paint = PAINTS[0][1], width = BRUSHES[1][1], cursor = null, keyboard = false;

  // The drawing covers only the hole; what is painted beside it is cut off.
  function render(pen, marked) {
    const { width: w, height: h } = canvas;
    pen.clearRect(0, 0, w, h);
    if (!below) return;
    if (picture.complete && picture.naturalWidth) pen.drawImage(picture, 0, 0, w, h);
    const [rows, cols] = below.grid;
    pen.save();
    pen.beginPath();
    [...below.hole].forEach((cell, i) => {
      if (cell === "1") pen.rect(((i % cols) * w) / cols, (Math.floor(i / cols) * h) / rows, w / cols, h / rows);
    });
    pen.clip();
    pen.fillStyle = "#c9c9ce";
    pen.fillRect(0, 0, w, h);
    pen.lineCap = pen.lineJoin = "round";
    for (const { colour, size, points } of stroke ? [...strokes, stroke] : strokes) {
      pen.strokeStyle = colour;
      pen.lineWidth = size;
      pen.beginPath();
      points.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
      pen.lineTo(...points.at(-1));  // a single point is a dot
      pen.stroke();
    }
    pen.restore();
    if (!marked || !keyboard) return;
    for (const [colour, size] of [["#fff", 5], ["#0072B2", 2.5]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = size;
      pen.beginPath();
      pen.arc(cursor[0], cursor[1], width / 2 + 3, 0, 2 * Math.PI);
      pen.stroke();
    }
  }
  const draw = () => {
    render(canvas.getContext("2d"), true);
    undo.disabled = clear.disabled = !strokes.length;
    canvas.dataset.strokes = strokes.length;
  };
  picture.onload = () => draw();

  const tools = element("div", { className: "bar" });
  const choice = (nodes) => nodes.forEach((node) => { node.onclick = () => { nodes.forEach((one) => one.setAttribute("aria-pressed", String(one === node))); node.choose(); draw(); }; });
  const paints = PAINTS.map(([name, colour], i) => {
    const node = element("button", { type: "button", className: "paint", title: name, choose: () => { paint = colour; } });
    node.style.background = colour;
    node.setAttribute("aria-label", name);
    node.setAttribute("aria-pressed", String(!i));
    return node;
  });
  const brushes = BRUSHES.map(([name, size], i) => {
    const node = element("button", { type: "button", textContent: name, choose: () => { width = size; } });
    node.setAttribute("aria-pressed", String(i === 1));
    return node;
  });
  choice(paints);
  choice(brushes);
  const undo = element("button", { type: "button", textContent: "Undo", onclick: () => { strokes.pop(); draw(); } });
  const clear = element("button", { type: "button", textContent: "Clear", onclick: () => { strokes = []; draw(); } });
  tools.append(...paints, ...brushes, undo, clear);
  const box = element("div", { className: "sketch" }, tools, canvas);

  const at = (event) => {
    const edge = canvas.getBoundingClientRect();
    return [((event.clientX - edge.left) / edge.width) * canvas.width, ((event.clientY - edge.top) / edge.height) * canvas.height];
  };
  const keep = (done) => strokes.push(done);
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 0 || stroke || !below) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    keyboard = false;
    stroke = { id: event.pointerId, colour: paint, size: width, points: [at(event)] };
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!stroke || event.pointerId !== stroke.id) return;
    stroke.points.push(at(event));
    draw();
  });
  const end = (event) => {
    if (!stroke || event.pointerId !== stroke.id) return;
    keep(stroke);
    stroke = null;
    draw();
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("blur", () => { keyboard = false; draw(); });
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
    const move = moves[event.key], command = event.ctrlKey || event.metaKey;
    if (!below || event.altKey) return;
    if (move && !command) {
      const step = canvas.width / (2 * below.grid[1]), from = cursor;  // half a patch
      cursor = [Math.min(canvas.width, Math.max(0, from[0] + step * move[0])), Math.min(canvas.height, Math.max(0, from[1] + step * move[1]))];
      if (event.shiftKey) keep({ colour: paint, size: width, points: [from, cursor] });
    } else if (event.key === " ") {
      keep({ colour: paint, size: width, points: [cursor] });
    } else if (command && event.key.toLowerCase() === "z") {
      strokes.pop();
    } else {
      return;
    }
    keyboard = true;
    event.preventDefault();
    event.stopPropagation();
    draw();
  });

  box.blank = () => { below = stroke = null; strokes = []; picture.removeAttribute("src"); draw(); };
  box.show = ({ source, hole, grid }) => {
    below = { hole, grid };
    strokes = [];
    stroke = null;
    canvas.height = Math.round((SKETCH_SIDE * grid[0]) / grid[1]);
    // The keys begin in the middle of the hole.
    const cells = [...hole].flatMap((cell, i) => (cell === "1" ? [[i % grid[1], Math.floor(i / grid[1])]] : []));
    const middle = (axis) => cells.reduce((sum, cell) => sum + cell[axis] + 0.5, 0) / Math.max(1, cells.length);
    cursor = [(middle(0) * canvas.width) / grid[1], (middle(1) * canvas.height) / grid[0]];
    picture.src = source;
    draw();
  };
  box.drawn = () => {
    if (!strokes.length) return "";
    const copy = element("canvas", { width: canvas.width, height: canvas.height });
    render(copy.getContext("2d"), false);
    return copy.toDataURL("image/png");
  };
  draw();
  return box;
}

// Blocks to choose one from; picked() is its number, or null. A second press takes the choice back.
function blockPicker() {
  const box = element("div", { className: "blocks" });
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Which block was cut out here?");
  let chosen = null;
  const mark = () => [...box.children].forEach((node, i) => node.setAttribute("aria-pressed", String(i === chosen)));
  box.show = (sources) => {
    chosen = null;
    box.replaceChildren(...sources.map((source, i) => element("button", {
      type: "button", onclick: () => { chosen = chosen === i ? null : i; mark(); },
    }, element("img", { src: source, alt: `Block ${i + 1}`, draggable: false }))));
    mark();
  };
  box.picked = () => chosen;
  return box;
}
