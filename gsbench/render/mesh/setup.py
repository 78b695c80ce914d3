"""How the surface of every object of a data set looks, and how finely it is sampled; the same for both renderers.

In sRGB values throughout:

    color(p, n) = shade(n) * mix(dark_colour, light_colour, 1/2 + (sin w1.p + sin w2.p + sin w3.p) / 6)
    shade(n)     = ambient + sum_i intensity_i (n . l_i)^2

p is the position in the world frame, n the face's normal, l_i the directions of the lights. The texture is a soft 3-D
pattern without edges: a hard 3-D checker costs a fit of Gaussians 6 dB. The square makes a face look the same from
both sides, as it must when winding means nothing and walls have no thickness; no highlight moves with the viewer, so
views agree with each other and spherical harmonics have no gloss to learn.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from gsbench.core.parsing import InputError, check_range
from gsbench.core.types import Array

RENDERERS = ("software", "pyrender")
# Directions of the three waves: orthonormal, none along an axis, so that no wall of a box-like object is plain.
_WAVES = np.array([[2, 2, 1], [-2, 1, 2], [1, -2, 2]]) / 3
_WAVE_PHASES = np.array([0.3, 1.7, 4.1])
_SUPERSAMPLED_UP_TO = 400
_MAX_FREQUENCY = 1000
_MAX_LIGHTS = 100
_MAX_LIGHT = 1000


@dataclass(frozen=True, slots=True)
class RenderSetup:
    """Texture, lights and sampling of the views; the same for all objects of a data set.

    Attributes:
        light_colour: sRGB in 0..1, one end of the texture.
        dark_colour: sRGB in 0..1, the other end.
        frequency: waves of the texture per world unit (the object's radius).
        ambient: shade of a face that no light reaches.
        lights: direction (x, y, z; any length) and intensity of each light. No normal's shade may exceed 1, so that
            nothing saturates.
        supersample: a pixel has 4 supersample^2 samples, so 1 means 4 and 2 means 16; 0 means 2 up to 400 pixels, 1
            above.
        renderer: "software" (needs nothing, the same bytes everywhere) or "pyrender" (OpenGL; bytes are the driver's).
    """

    light_colour: tuple[float, float, float] = (0.95, 0.90, 0.82)
    dark_colour: tuple[float, float, float] = (0.74, 0.79, 0.88)
    frequency: float = 1.25
    ambient: float = 0.45
    lights: tuple[tuple[float, float, float, float], ...] = (
        (0.15, 0.10, 0.98, 0.42),
        (0.95, -0.30, 0.10, 0.28),
        (-0.30, 0.80, 0.50, 0.05),
    )
    supersample: int = 0
    renderer: str = "software"

    def __post_init__(self) -> None:
        for name in ("light_colour", "dark_colour"):
            if not all(0 <= value <= 1 for value in getattr(self, name)):
                raise InputError(f"{name} is {getattr(self, name)}, allowed are three values in 0..1")
        check_range("frequency", self.frequency, 0, _MAX_FREQUENCY)
        check_range("ambient", self.ambient, 0, 1)
        for light in self.lights:
            for value in light:
                check_range("lights", value, -_MAX_LIGHT, _MAX_LIGHT)
        if len(self.lights) > _MAX_LIGHTS:
            raise InputError(f"lights: {len(self.lights)} (allowed: up to {_MAX_LIGHTS})")
        if not all(math.hypot(*light[:3]) > 0 for light in self.lights):
            raise InputError("lights: a direction is zero, each light is (x, y, z, intensity)")
        if not all(light[3] >= 0 for light in self.lights):
            raise InputError("the lights' intensities must be 0 or more")
        brightest = float(np.linalg.eigvalsh(shade_matrix(self))[-1])
        if not brightest <= 1:
            raise InputError(f"ambient and lights reach a shade of {brightest:.3f}, at most 1 is allowed")
        if self.supersample not in range(3):
            raise InputError(f"supersample is {self.supersample}, allowed are 0 (automatic), 1 and 2")
        if self.renderer not in RENDERERS:
            raise InputError(f"renderer is {self.renderer!r}, allowed are {', '.join(RENDERERS)}")


def shade_matrix(setup: RenderSetup) -> Float64[Array, "3 3"]:
    """The matrix M with which the shade of a unit normal n is n^T M n."""
    matrix = setup.ambient * np.eye(3)
    for *direction, intensity in setup.lights:
        unit = np.array(direction) / np.linalg.norm(direction)
        matrix += intensity * np.outer(unit, unit)
    return matrix


def waves(setup: RenderSetup) -> tuple[Float64[Array, "3 3"], Float64[Array, "3"]]:
    """The vectors w_i, radians per world unit, and a phase each, by which sin(w_i . p + phase_i) makes the texture."""
    return _WAVES * 2 * np.pi * setup.frequency, _WAVE_PHASES


def supersampling(setup: RenderSetup, width: int, height: int) -> int:
    """The factor that `setup.supersample` means for images of this size."""
    return setup.supersample or (2 if max(width, height) <= _SUPERSAMPLED_UP_TO else 1)
