"""The live page: the painter of the widgets, and an I-JEPA that runs in the browser."""
