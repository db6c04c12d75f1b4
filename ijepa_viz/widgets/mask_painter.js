// MaskPainter: nothing but the surface.

export default {
  render({ model, el }) {
    return paintingSurface(model, el).cleanUp;
  },
};
