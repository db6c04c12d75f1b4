// Texts of the widgets' traits as numbers and back: holes, and pictures as addresses.

// Patch indices of a hole, from its text "0101...".
export const hiddenOf = (mask) => [...mask].flatMap((cell, i) => (cell === "1" ? [i] : []));

// RGBA of a picture of [height, width] as a data: address.
export function address(pixels, [height, width]) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  canvas.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
  return canvas.toDataURL();
}

// [height, width] of RGBA of a picture with this grid of square patches.
export function sizeOf(pixels, [rows, cols]) {
  const patch = Math.round(Math.sqrt(pixels.length / 4 / (rows * cols)));
  return [rows * patch, cols * patch];
}
