"""LanguageBind: towers for video, sound, depth, thermal images and images, each trained against one text tower.

Zhu et al., "LanguageBind: Extending Video-Language Pretraining to N-modality by Language-based Semantic Alignment",
ICLR 2024, arXiv 2310.01852. The released package needs transformers 4.30; here the towers are built again in plain
torch, from the same folders.
"""

from ibench.encoders.languagebind.encoder import FAMILIES, LanguageBindEncoder, recognise

__all__ = ["FAMILIES", "LanguageBindEncoder", "recognise"]
