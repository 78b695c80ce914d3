"""Views as the fit compares with them: over white, box-averaged to the resolution of a stage, plane by plane."""

from numba import njit


@njit(cache=True, error_model="numpy")
def fill_targets(rgba, factor, planes):
    """Fills `planes` `[v 4 h w]` uint8: red, green, blue over white, and alpha, each the mean of `factor`^2 pixels.

    `rgba` is `[v factor*h factor*w 4]` at most; what `planes` has beyond that stays as it is.
    """
    views, height, width, _ = rgba.shape
    area = factor * factor
    scale = 1 / (255 * area)
    for view in range(views):
        for row in range(height // factor):
            for column in range(width // factor):
                red, green, blue, alpha = 0, 0, 0, 0
                for i in range(row * factor, (row + 1) * factor):
                    for j in range(column * factor, (column + 1) * factor):
                        a = int(rgba[view, i, j, 3])
                        if a:
                            red += rgba[view, i, j, 0] * a
                            green += rgba[view, i, j, 1] * a
                            blue += rgba[view, i, j, 2] * a
                            alpha += a
                clear = 255 * (255 * area - alpha)
                planes[view, 0, row, column] = int((red + clear) * scale + 0.5)
                planes[view, 1, row, column] = int((green + clear) * scale + 0.5)
                planes[view, 2, row, column] = int((blue + clear) * scale + 0.5)
                planes[view, 3, row, column] = int(alpha * (255 * scale) + 0.5)


@njit(cache=True, error_model="numpy")
def fill_silhouettes(rgba, masks):
    """Sets `masks` `[v h w]` where alpha passes one half in a pixel or one of its 8 neighbours."""
    views, height, width, _ = rgba.shape
    masks[:] = False
    for view in range(views):
        for row in range(height):
            for column in range(width):
                if rgba[view, row, column, 3] > 127:
                    masks[view, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = True
