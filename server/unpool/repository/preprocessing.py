"""From a picture to a model's input: the recipe, applied in the layout that the input's axis labels tell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from PIL import Image

from unpool.graph.errors import InvalidArgumentError, ModelError, PreconditionError
from unpool.graph.model import Array
from unpool.repository.decoding import DEFAULT_PIXELS
from unpool.repository.placement import Placement
from unpool.repository.recipe import ChannelOrder, Edges, Exact, Recipe, Resize
from unpool.repository.target import PictureInput

DEFAULT_WARNING = (
    "the repository does not describe this model's preprocessing: "
    "pictures are scaled to its input (bilinear, {order}, {values}), which may not be what it was trained with"
)


@dataclass(frozen=True)
class Prepared:
    """A picture made into an input: the array in the model's own layout, and where it lies in the picture."""

    array: Array
    placement: Placement


@dataclass(frozen=True)
class Preprocessing:
    """How pictures become one input of a model.

    Attributes:
        target: the input, its layout and size.
        recipe: the steps; without a description ``default_recipe``.
        described: the repository says so; ``False`` where it is an assumption.

    Raises:
        ModelError: the recipe lists another number of channels than the input has.
    """

    target: PictureInput
    recipe: Recipe
    described: bool

    def __post_init__(self) -> None:
        channels = self.target.channels
        if (self.order is ChannelOrder.GRAY) != (channels == 1):
            raise ModelError(
                f"preprocessor_config.json: channel_order is {self.order.value}, "
                f"but input '{self.target.name}' has {channels} channels"
            )
        for key, values in (("image_mean", self.recipe.mean), ("image_std", self.recipe.std)):
            if values is not None and len(values) not in (1, channels):
                raise ModelError(
                    f"preprocessor_config.json: {key} lists {len(values)} channels, "
                    f"input '{self.target.name}' has {channels}"
                )

    @property
    def order(self) -> ChannelOrder:
        """Order of the fed channels."""
        return self.recipe.order or (ChannelOrder.GRAY if self.target.channels == 1 else ChannelOrder.RGB)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know, in sentences."""
        if self.described:
            return ()
        values = "0 to 1" if self.recipe.rescale else "0 to 255"
        return (DEFAULT_WARNING.format(order=self.order.value, values=values),)

    @cached_property
    def steps(self) -> tuple[str, ...]:
        """The steps in order and in words."""
        recipe = self.recipe
        how = recipe.resample.name.lower()
        found = []
        if self._resize is not None:
            found.append(f"{_words(self._resize)} ({how})")
        if recipe.crop is not None:
            found.append(f"crop the centre to {recipe.crop[0]} by {recipe.crop[1]}")
        found.append(f"order the channels {self.order.value}")
        if recipe.rescale is not None and recipe.rescale != 1:
            inverse = 1 / recipe.rescale if recipe.rescale else 0.0
            by = (
                f"divide by {_short(inverse)}"
                if abs(inverse - round(inverse)) < 1e-6
                else f"multiply by {recipe.rescale!r}"
            )
            found.append(by)
        if recipe.mean is not None:
            found.append(f"subtract {', '.join(map(_short, recipe.mean))}")
        if recipe.std is not None and set(recipe.std) != {1.0}:
            found.append(f"divide by {', '.join(map(_short, recipe.std))}")
        return tuple(found)

    @cached_property
    def _resize(self) -> Resize | None:
        """The recipe's size, else the input's own, else none: the picture keeps its size."""
        if self.recipe.resize is not None or self.recipe.crop is not None:
            return self.recipe.resize
        height, width = self.target.height, self.target.width
        return Exact(height, width) if height is not None and width is not None else None

    def apply(self, picture: Image.Image, *, pixels: int = DEFAULT_PIXELS) -> Prepared:
        """Makes the input of one picture.

        Args:
            picture: upright, mode ``RGB`` or ``L``.
            pixels: the most that the resize may make of it.

        Returns:
            the array, of the input's dtype and layout, batch axis of extent 1, and where its plane lies in the picture.

        Raises:
            InvalidArgumentError: the picture is so long and thin that scaling its edge makes it too large.
            PreconditionError: the recipe gives another size than the input takes.
        """
        recipe, order = self.recipe, self.order
        image = picture.convert("L" if order is ChannelOrder.GRAY else "RGB")
        width, height = image.size
        resized = self._sized(height, width)
        if resized != (height, width):
            # A strip of one by a million pixels is a small file and, at 256 on its shorter side, 65 gigapixels.
            if isinstance(self._resize, Edges) and resized[0] * resized[1] > max(pixels, height * width):
                raise InvalidArgumentError(
                    "picture",
                    f"is {width} by {height} pixels, which the model's preprocessing scales to {resized[1]} by "
                    f"{resized[0]}; at most {pixels} pixels are made",
                )
            image = image.resize((resized[1], resized[0]), int(recipe.resample))
        plane, corner = resized, (0, 0)
        if recipe.crop is not None:
            plane = recipe.crop
            # Floor also where the crop is larger than the picture: the odd row of padding goes to the top.
            corner = (resized[0] - plane[0]) // 2, (resized[1] - plane[1]) // 2
            image = image.crop((corner[1], corner[0], corner[1] + plane[1], corner[0] + plane[0]))
        self._fits(plane)
        values = self._values(np.asarray(image, dtype=np.float32))
        scale = height / resized[0], width / resized[1]
        placement = Placement(
            picture=(height, width),
            plane=plane,
            scale=scale,
            offset=(corner[0] * scale[0], corner[1] * scale[1]),
        )
        return Prepared(self.target.arrange(values), placement)

    def _values(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        recipe = self.recipe
        values: npt.NDArray[np.float32] = pixels[..., None] if pixels.ndim == 2 else pixels
        if self.order is ChannelOrder.BGR:
            values = values[..., ::-1]
        if recipe.rescale is not None:
            values = values * np.float32(recipe.rescale)
        if recipe.mean is not None:
            values = values - np.asarray(recipe.mean, np.float32)
        if recipe.std is not None:
            values = np.divide(values, np.asarray(recipe.std, np.float32), dtype=np.float32)
        return np.ascontiguousarray(values.transpose(2, 0, 1))

    def _fits(self, plane: tuple[int, int]) -> None:
        for extent, made, word in zip((self.target.height, self.target.width), plane, ("high", "wide"), strict=True):
            if extent is not None and extent != made:
                raise PreconditionError(
                    f"the model's preprocessing makes inputs {made} {word}, "
                    f"input '{self.target.name}' is {extent} {word}: correct preprocessor_config.json"
                )

    def _sized(self, height: int, width: int) -> tuple[int, int]:
        """Size after the resize; truncation as in the processors whose keys these are."""
        resize = self._resize
        if resize is None:
            return height, width
        if isinstance(resize, Exact):
            return resize.height, resize.width
        short, long = min(height, width), max(height, width)
        if resize.shortest is not None:
            factor = resize.shortest / short
            if resize.longest is not None and long * factor > resize.longest:
                factor = resize.longest / long
        else:
            assert resize.longest is not None
            factor = resize.longest / long
        # The edge that is named gets exactly its size.
        sized = [max(1, int(extent * factor + 1e-9)) for extent in (height, width)]
        return sized[0], sized[1]


def default_recipe(target: PictureInput) -> Recipe:
    """What is assumed of a model without a description: values 0 to 1, or 0 to 255 where the input is of integers."""
    return Recipe(rescale=None if target.integer else 1 / 255)


def _words(resize: Resize) -> str:
    if isinstance(resize, Exact):
        return f"resize to {resize.height} by {resize.width}"
    if isinstance(resize, Edges) and resize.shortest is not None:
        limit = f", the longer at most {resize.longest}" if resize.longest is not None else ""
        return f"resize the shorter side to {resize.shortest}{limit}"
    return f"resize the longer side to {resize.longest}"


def _short(value: float) -> str:
    return f"{value:g}"
