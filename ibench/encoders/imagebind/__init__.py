"""ImageBind: one embedding space for images, video, text, sound, depth, thermal images and motion.

Girdhar et al., "ImageBind: One Embedding Space To Bind Them All", CVPR 2023, arXiv 2305.05665. `recognise` tells an
ImageBind state dict by its keys, `load` opens one. The weights Meta published are CC BY-NC 4.0.
"""

from ibench.encoders.imagebind.encoder import ImageBind, load
from ibench.encoders.imagebind.layout import recognise

__all__ = ["ImageBind", "load", "recognise"]
