// State of the page, with the interface of anywidget's model, which the widgets' scripts take; and its address.

export class Store {
  constructor(state) { this.state = { ...state }; this.listeners = {}; }
  get(name) { return this.state[name]; }
  set(name, value) {
    if (this.state[name] === value) return;
    this.state[name] = value;
    for (const react of (this.listeners[`change:${name}`] || []).slice()) react(value);
  }
  on(name, react) { (this.listeners[name] ||= []).push(react); }
  off(name, react) { this.listeners[name] = (this.listeners[name] || []).filter((other) => other !== react); }
  save_changes() {}
}

// "0101..." to hexadecimal, four patches a digit, the first patch in the highest bit.
export function holeToHex(mask) {
  return (mask.match(/.{1,4}/g) || []).map((four) => parseInt(four.padEnd(4, "0"), 2).toString(16)).join("");
}

// The reverse for a grid of ``count`` patches; null where the text is no hole of that grid.
export function hexToHole(hex, count) {
  if (!/^[0-9a-f]+$/.test(hex) || hex.length !== Math.ceil(count / 4)) return null;
  const mask = [...hex].map((digit) => parseInt(digit, 16).toString(2).padStart(4, "0")).join("");
  return /1/.test(mask.slice(count)) ? null : mask.slice(0, count);
}

// What a link holds: picture, hole and seed, and what is drawn from where it is not the prediction.
export function toAddress({ picture, mask, seed, source }) {
  const parts = new URLSearchParams({ picture, hole: holeToHex(mask), seed: String(seed) });
  if (source !== "prediction") parts.set("from", source);
  return `#${parts}`;
}

// The link's part after "#" as {picture, mask, seed, source}; what it does not hold is undefined. ``problem`` says in
// words what of it cannot be used.
export function fromAddress(hash, { pictures, sources, count }) {
  const parts = new URLSearchParams(hash.replace(/^#/, "")), found = { problem: "" };
  const complain = (words) => { found.problem ||= words; };
  if (parts.has("picture")) {
    if (pictures.includes(parts.get("picture"))) found.picture = parts.get("picture");
    else complain("The link names a picture that this page does not have: another one is shown.");
  }
  if (parts.has("hole")) {
    const mask = hexToHole(parts.get("hole"), count);
    if (mask) found.mask = mask;
    else complain("The link's hole does not fit this grid: another one is shown.");
  }
  if (parts.has("seed")) {
    const seed = Number(parts.get("seed"));
    if (/^\d{1,9}$/.test(parts.get("seed"))) found.seed = seed;
    else complain("The link's seed is not a whole number from 0 to 999999999: seed 0 is used.");
  }
  if (parts.has("from")) {
    if (sources.includes(parts.get("from"))) found.source = parts.get("from");
    else complain("The link names an unknown source of the pictures: the prediction is used.");
  }
  return found;
}
