"""Tokenizers that a weight file does not bring along: beside it, or where the Hugging Face hub keeps its downloads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from ibench.encoders.hf_folder import class_named, opening
from ibench.errors import IbenchError

_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
"""Read along when they are there."""


@dataclass(frozen=True)
class HubTokenizer:
    """``names`` of the repository on the hub, the one people know first; ``vocabulary``: files of the old layout."""

    names: tuple[str, ...]
    vocabulary: tuple[str, ...]
    class_name: str

    def files(self, checkpoint: Path) -> list[Path]:
        """Its files: in a folder of its name beside the checkpoint, beside it, or in the hub's cache; else none."""
        beside = checkpoint.absolute().parent
        for folder in (beside / self.names[0], beside, *self._cached()):
            for layout in self._layouts:
                if all((folder / name).is_file() for name in layout):
                    return [folder / name for name in (*layout, *_SETTINGS) if (folder / name).is_file()]
        return []

    def load(self, checkpoint: Path, tokens: int) -> Any:
        """The tokenizer of a text tower that knows ``tokens`` tokens.

        Raises IbenchError that says where to put it when it is not there, or has another number of tokens.
        """
        name, beside, files = self.names[0], checkpoint.absolute().parent, self.files(checkpoint)
        put = f"put tokenizer.json (or {' and '.join(self.vocabulary)}) of {name} into {beside} or {beside / name}"
        if not files:
            raise IbenchError(f"{checkpoint}: its text tower reads with {name}'s tokenizer, which is not there; {put}")
        folder = files[0].parent
        with opening(folder):
            tokenizer = class_named(self.class_name).from_pretrained(folder, local_files_only=True)
        if len(tokenizer) != tokens:
            raise IbenchError(
                f"{files[0]}: a tokenizer of {len(tokenizer)} tokens, the text tower of {checkpoint.name} knows "
                f"{tokens}: it is not {name}'s; {put}"
            )
        tokenizer.padding_side = tokenizer.truncation_side = "right"
        return tokenizer

    @property
    def _layouts(self) -> tuple[tuple[str, ...], ...]:
        return ("tokenizer.json",), self.vocabulary

    def _cached(self) -> list[Path]:
        """Folders of the hub's cache that have one of the files."""
        tried = (try_to_load_from_cache(name, layout[0]) for name in self.names for layout in self._layouts)
        return [Path(file).parent for file in tried if isinstance(file, str)]


ROBERTA = HubTokenizer(("roberta-base", "FacebookAI/roberta-base"), ("vocab.json", "merges.txt"), "RobertaTokenizer")
GPT2 = HubTokenizer(("gpt2", "openai-community/gpt2"), ("vocab.json", "merges.txt"), "GPT2Tokenizer")
BERT = HubTokenizer(("bert-base-uncased", "google-bert/bert-base-uncased"), ("vocab.txt",), "BertTokenizer")
