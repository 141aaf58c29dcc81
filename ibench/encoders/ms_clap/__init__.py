"""MS-CLAP: Microsoft's two releases of CLAP, sound and text in one space.

Elizalde et al., "CLAP: Learning Audio Concepts From Natural Language Supervision", ICASSP 2023, arXiv 2206.04769 (the
release of 2022), and "Natural Language Supervision for General-Purpose Audio Representations", ICASSP 2024, arXiv
2309.05767 (2023). The released package (msclap) needs numpy below 2 and transformers below 5, and loads what fits;
here the towers are built again, and a checkpoint fits in every key.
"""

from ibench.encoders.ms_clap.encoder import FAMILIES, recognise

__all__ = ["FAMILIES", "recognise"]
