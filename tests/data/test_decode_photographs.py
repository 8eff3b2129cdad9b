"""The bytes of 200 photographs, beside those of another build of the decoder and of Pillow's plain way."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lenext.data.decode import decode_bytes, read_header
from tests.real_data import PACKAGES, package_files

# SHA-256 over all photographs, in order of their paths, of the pixels (height, width, channel) at 1, 1/2, 1/4 and 1/8.
# Computed without a line of this project and without Pillow, by simplejpeg 1.9.0, which brings a libjpeg-turbo of its
# own: decode_jpeg(data, "RGB", min_height=ceil(height / divisor), min_width=ceil(width / divisor)).
DIGESTS = {
    1: "30ef3cf1d3db4c3a6cbd21bf73e19f5f691e6c845dd43efdcfe01fd7fc07a5c2",
    2: "9866632cc21c03ad8155d8ec88ac3401434edd9d2ac2f9c579225620ff1d36b0",
    4: "5cbdb82ebc4218430b3ae407807df84c50767e1ca9069154f700d6505bfb91e6",
    8: "bc8ba7bcc1d4f4620571e2728302fbbe9db0c6327c3e914bef42e909e8c76144",
}


@pytest.fixture(scope="module")
def photographs() -> list[Path]:
    data = package_files("ai-benchmark", *PACKAGES["ai-benchmark"]) / "ai_benchmark" / "data"
    return sorted([*data.glob("classification/*.jpg"), *data.glob("enhancement/*.jpg")])


@pytest.mark.slow
@pytest.mark.parametrize("divisor", DIGESTS)
def test_photographs_have_the_bytes_of_another_decoder(photographs: list[Path], divisor: int) -> None:
    assert len(photographs) == 200
    digest = hashlib.sha256()
    for path in photographs:
        data = path.read_bytes()
        header = read_header(data)
        pixels = decode_bytes(data, min_side=-(-min(header.width, header.height) // divisor))
        digest.update(pixels.permute(1, 2, 0).contiguous().numpy().tobytes())
    assert digest.hexdigest() == DIGESTS[divisor]


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_photographs_are_what_pillow_shows(photographs: list[Path], channels: int) -> None:
    for path in photographs:
        image = Image.open(io.BytesIO(path.read_bytes())).convert("RGB")
        shown = np.asarray(image.convert("L") if channels == 1 else image)
        pixels = decode_bytes(path.read_bytes(), channels=channels).permute(1, 2, 0).numpy()
        assert np.array_equal(pixels, shown.reshape(pixels.shape)), path.name
