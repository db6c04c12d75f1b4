// Shared by all widgets: one style for light and dark themes, and construction of elements.

const STYLE = `
.ijv { --ink: #1d1d1f; --paper: #ffffff; --line: #6b6b70; --soft: #55555b; --mask: #D55E00; --focus: #0072B2;
       --context: #56B4E9; --empty: #e8e8e8;
       color: var(--ink); background: var(--paper); font: 14px/1.4 system-ui, sans-serif; padding: 8px;
       display: flex; flex-wrap: wrap; gap: 16px; border-radius: 6px; }
@media (prefers-color-scheme: dark) { .ijv { --ink: #f2f2f4; --paper: #1b1b1f; --line: #9a9aa2; --soft: #b9b9c2;
       --focus: #56B4E9; --empty: #3c3c42; } }
body[data-jp-theme-light="true"] .ijv { --ink: #1d1d1f; --paper: #ffffff; --line: #6b6b70; --soft: #55555b;
       --focus: #0072B2; --empty: #e8e8e8; }
body[data-jp-theme-light="false"] .ijv { --ink: #f2f2f4; --paper: #1b1b1f; --line: #9a9aa2; --soft: #b9b9c2;
       --focus: #56B4E9; --empty: #3c3c42; }
.ijv .painting { width: 362px; max-width: 100%; }
.ijv canvas { border: 1px solid var(--line); border-radius: 4px; }
.ijv canvas[role=application] { touch-action: none; cursor: crosshair; }
.ijv :focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
.ijv .bar { display: flex; flex-wrap: wrap; gap: 6px; margin: 0 0 6px; align-items: center; max-width: 520px; }
.ijv button, .ijv select, .ijv input { font: inherit; color: var(--ink); background: var(--paper);
       border: 1px solid var(--line); border-radius: 4px; padding: 2px 8px; }
.ijv button[aria-pressed=true] { background: var(--focus); color: var(--paper); border-color: var(--focus); }
.ijv input[type=number] { width: 4.5em; }
.ijv input[type=range] { padding: 0; width: 9em; min-width: 4em; flex: 0 1 auto; accent-color: var(--focus); }
.ijv input[type=checkbox] { accent-color: var(--focus); }
.ijv button:disabled, .ijv select:disabled { opacity: .55; }
.ijv .status { margin: 4px 0 0; min-height: 1.4em; }
.ijv .soft { color: var(--soft); margin: 4px 0; max-width: 520px; }
.ijv [role=alert] { color: #fff; background: #a8330a; padding: 4px 8px; border-radius: 4px; margin: 4px 0; max-width: 320px; }
.ijv [role=alert]:empty { display: none; }
.ijv .strip { display: flex; flex-wrap: wrap; gap: 6px; max-width: 480px; }
.ijv .strip img { width: 140px; height: 140px; image-rendering: pixelated; border-radius: 4px; border: 1px solid var(--line); }
.ijv .boxed { position: relative; display: inline-flex; }
.ijv .boxed svg { position: absolute; inset: 1px; width: calc(100% - 2px); height: calc(100% - 2px); overflow: visible; pointer-events: none; }
.ijv label { display: inline-flex; gap: 4px; align-items: center; max-width: 100%; }
.ijv [hidden] { display: none !important; }
.ijv summary { cursor: pointer; }
.ijv table { border-collapse: collapse; } .ijv td, .ijv th { padding: 2px 8px; text-align: left; border-bottom: 1px solid var(--line); }
`;

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function vector(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// A key pressed on a control of a widget is the control's: JupyterLab, which listens further out, would take Enter,
// arrows and letters as its own commands. Saving the notebook stays.
function keepKeys(root) {
  const keep = (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "s") return;
    event.stopPropagation();
  };
  for (const type of ["keydown", "keypress", "keyup"]) root.addEventListener(type, keep);
}

// viridis, from 0 to 1, as CSS.
function viridis(share) {
  const stops = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  return `rgb(${stops[low].map((v, i) => Math.round(v + (stops[low + 1][i] - v) * (at - low))).join()})`;
}

// Draw again when the colours of the page reach a canvas: a widget is made before it joins the page, and the theme can turn.
function redrawInPageColours(root, draw) {
  const size = new ResizeObserver(draw), theme = new MutationObserver(draw), dark = matchMedia("(prefers-color-scheme: dark)");
  size.observe(root);
  theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  dark.addEventListener("change", draw);
  return () => { size.disconnect(); theme.disconnect(); dark.removeEventListener("change", draw); };
}

// Milliseconds without a reply after which the kernel is reported as busy or gone.
const PATIENCE = 8000;

const SILENT_KERNEL = "The kernel does not answer: it is busy with another cell, or it died. If no cell is running, " +
  "choose Kernel, Restart Kernel and Run All Cells.";

// The kernel repeats the number of every request in "heard" at once. Where there is no kernel there is no "heard".
function watchKernel(model, complain) {
  let timer = null, late = false;
  const asked = () => {
    if (model.get("heard") === undefined || timer) return;
    timer = setTimeout(() => { timer = null; late = true; complain(SILENT_KERNEL); }, model.get("patience") || PATIENCE);
  };
  const heard = () => {
    if (model.get("heard") < model.get("seq")) return;
    clearTimeout(timer);
    timer = null;
    if (late) complain(model.get("error"));
    late = false;
  };
  model.on("change:seq", asked);
  model.on("change:heard", heard);
  return () => { clearTimeout(timer); model.off("change:seq", asked); model.off("change:heard", heard); };
}
