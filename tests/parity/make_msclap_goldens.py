"""Writes tests/encoders/goldens/msclap.safetensors: what the reference implementation of MS-CLAP computes.

Run it in an environment of the reference's own, never in ibench's:

    pip install torch==2.12.1 torchvision==0.27.1 torchaudio==2.11.0 "transformers<5" librosa pyyaml safetensors
    pip install --no-deps msclap==1.3.4 torchlibrosa==0.1.0
    python tests/parity/make_msclap_goldens.py

The package's wrapper opens a checkpoint of random weights (``tests/encoders/msclap_samples.py``) and embeds texts and
sounds as it always does, with these stand-ins:

- sizes are reduced: of its classes for HTSAT and Cnn14, and of transformers' GPT-2 and BERT, which it would download;
- so are the tokenizers;
- torchaudio.load, which needs torchcodec, gives the samples directly; two channels are averaged before, for the
  package would put one after the other;
- random.randrange, where a longer sound is cropped, gives the middle.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path

import torch
import torchaudio
import transformers
from safetensors.torch import save_file

TESTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS / "encoders"))

import msclap.models.clap as models  # noqa: E402
import msclap_samples as samples  # noqa: E402
from imagebind_samples import sample  # noqa: E402
from msclap import CLAPWrapper as module  # noqa: E402
from msclap.models import config  # noqa: E402
from msclap.models.audio import Cnn14, ConvBlock  # noqa: E402
from msclap.models.htsat import HTSAT_Swin_Transformer, HTSATWrapper  # noqa: E402

SIZES = {"transformer_embed_dim": 128, "d_proj": samples.DIM, "num_classes": 7}
OUT_EMB = {"2022": 48, "2023": 128}
CHANNELS = (8, 8, 16, 16, 24, 32)


def main() -> None:
    torch.set_grad_enabled(False)
    goldens, shapes = {}, {}
    for release in samples.RELEASES:
        with tempfile.TemporaryDirectory() as folder:
            wrapper, shapes[release] = small_wrapper(release, Path(folder))
        outputs = text_outputs(wrapper) | sound_outputs(wrapper) | tower_outputs(wrapper, release)
        goldens |= {f"{release}/{name}": output.contiguous() for name, output in outputs.items()}
    path = TESTS / "encoders" / "goldens" / "msclap.safetensors"
    save_file(goldens, path, {"shapes": json.dumps(shapes)})
    print(f"{path.name}: {len(goldens)} tensors, {path.stat().st_size / 1e6:.2f} MB")


def small_wrapper(release: str, folder: Path) -> tuple[module.CLAPWrapper, dict[str, list[int]]]:
    """The package's wrapper around a checkpoint, and the shapes of all that its model saves."""
    tokenizer = small_tokenizer(release, folder)
    models.AutoModel.from_pretrained = lambda name: small_text_model(name, len(tokenizer))
    models.get_audio_encoder = lambda name: {"Cnn14": small_cnn14, "HTSAT": small_htsat}[name]
    module.AutoTokenizer.from_pretrained = lambda name: tokenizer
    read = module.CLAPWrapper.read_config_as_args

    def read_smaller(self, *arguments, **settings):
        args = read(self, *arguments, **settings)
        vars(args).update(SIZES, out_emb=OUT_EMB[release])
        return args

    module.CLAPWrapper.read_config_as_args = read_smaller
    torch.save({"model": {}}, folder / "none.pth")
    model = module.CLAPWrapper(folder / "none.pth", release).clap
    shapes = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    torch.save({"model": samples.random_weights(shapes)}, folder / "weights.pth")
    wrapper = module.CLAPWrapper(folder / "weights.pth", release)
    module.CLAPWrapper.read_config_as_args = read
    loaded = wrapper.clap.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in samples.random_weights(shapes).items())
    return wrapper, shapes


def small_tokenizer(release: str, folder: Path):
    if release == "2023":
        samples.gpt2_files(folder)
        return transformers.GPT2TokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"))
    samples.bert_files(folder)
    return transformers.BertTokenizerFast(str(folder / "vocab.txt"))


def small_text_model(name: str, tokens: int):
    if name == "gpt2":
        return transformers.GPT2Model(
            transformers.GPT2Config(vocab_size=tokens, n_embd=128, n_head=2, n_layer=2, n_positions=80)
        )
    assert name == "bert-base-uncased"
    return transformers.BertModel(
        transformers.BertConfig(
            vocab_size=tokens, hidden_size=128, num_attention_heads=2, num_hidden_layers=2, intermediate_size=96,
            max_position_embeddings=120,
        )
    )  # fmt: skip


def small_htsat(*arguments) -> HTSATWrapper:
    wrapper = HTSATWrapper(*arguments)
    wrapper.htsat = HTSAT_Swin_Transformer(
        embed_dim=16, depths=[2, 2, 2, 2], num_heads=[2, 2, 4, 4], num_classes=7, config=config
    )
    return wrapper


def small_cnn14(*arguments) -> Cnn14:
    *_, classes, width = arguments
    model = Cnn14(*arguments)
    for number, (before, after) in enumerate(zip((1, *CHANNELS[:-1]), CHANNELS, strict=True), start=1):
        setattr(model, f"conv_block{number}", ConvBlock(before, after))
    model.fc1 = torch.nn.Linear(CHANNELS[-1], width)
    model.fc_audioset = torch.nn.Linear(width, classes)
    return model


def text_outputs(wrapper: module.CLAPWrapper) -> dict[str, torch.Tensor]:
    tokens = wrapper.preprocess_text(samples.TEXTS)
    return {
        "ids": tokens["input_ids"].to(torch.int32),
        "mask": tokens["attention_mask"].to(torch.int32),
        "text": unit(wrapper.get_text_embeddings(samples.TEXTS)),
    }


def sound_outputs(wrapper: module.CLAPWrapper) -> dict[str, torch.Tensor]:
    torchaudio.load = lambda name: (averaged(samples.sound(name)[0]), samples.sound(name)[1])
    random.randrange = lambda stop: stop // 2
    base = wrapper.clap.audio_encoder.base
    base = getattr(base, "htsat", base)
    outputs = {}
    for name in samples.SOUNDS:
        waves = wrapper.preprocess_audio([name], resample=True)[0]
        outputs[f"waves/{name}"] = sample(waves, step=311)
        outputs[f"mels/{name}"] = sample(base.logmel_extractor(base.spectrogram_extractor(waves)), step=97)
        outputs[f"audio/{name}"] = unit(wrapper.get_audio_embeddings([name], resample=True))
    return outputs


def tower_outputs(wrapper: module.CLAPWrapper, release: str) -> dict[str, torch.Tensor]:
    """Embeddings of given spectrograms: the model without its front end."""
    base = wrapper.clap.audio_encoder.base
    base = getattr(base, "htsat", base)
    base.spectrogram_extractor = base.logmel_extractor = torch.nn.Identity()
    return {"tower": unit(wrapper.clap.audio_encoder(samples.mels(release))[0])}


def averaged(waves) -> torch.Tensor:
    return torch.from_numpy(waves.mean(axis=0, keepdims=True))


def unit(embeddings: torch.Tensor) -> torch.Tensor:
    """As the package's compute_similarity does."""
    return embeddings / torch.norm(embeddings, dim=-1, keepdim=True)


if __name__ == "__main__":
    main()
