"""PNG, JPEG and other plain pictures, opened with suspicion."""

from pathlib import Path

from PIL import Image, UnidentifiedImageError

from engine.errors import EngineError


def open_raster(path: Path) -> Image.Image:
    """A decoded picture; raises EngineError where the file is none."""
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except (UnidentifiedImageError, OSError) as error:
        raise EngineError(f"{path.name} is not a picture that can be read ({error})") from None
