"""Figures of a data set and of learned features, drawn by matplotlib from any data folder.

Gaussians are drawn by the rasteriser that scores them, never by a stand-in. matplotlib and openTSNE come with the extra
`figures`; they are imported when a figure is drawn.
"""
