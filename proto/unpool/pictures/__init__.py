"""How signals become pictures: the one rendering that the client and the server share (NumPy and Pillow only)."""

from unpool.pictures.rendering import GREY, Rendered, pad_tile, png_bytes, render_signal

__all__ = ["GREY", "Rendered", "pad_tile", "png_bytes", "render_signal"]
