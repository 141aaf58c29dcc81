"""The frames that pytorchvideo takes of clips, in its own environment; prints a line of JSON.

    python _in_pytorchvideo.py FOLDER STARTS CLIP_SECONDS FRAMES

Of each video of the folder, clips of CLIP_SECONDS from each of the STARTS (seconds, parted by commas), and of each clip
FRAMES frames evenly: as ImageBind's released code loads video, with pytorchvideo's own decoder. The frames of the first
video go to FOLDER/frames.npy, uint8 [clips · frames, H, W, 3].
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from pytorchvideo.data.encoded_video import EncodedVideo


def sampled(file: Path, starts: list[float], seconds: float, count: int) -> torch.Tensor:
    """Float frames [clips · count, H, W, 3]."""
    video = EncodedVideo.from_path(str(file), decode_audio=False, decoder="pyav")
    clips = [video.get_clip(start, start + seconds)["video"] for start in starts]  # [3, T, H, W]
    # pytorchvideo's uniform_temporal_subsample, whose module does not import beside a current torchvision
    chosen = [clip[:, torch.linspace(0, clip.shape[1] - 1, count).long()] for clip in clips]
    return torch.cat([frames.permute(1, 2, 3, 0) for frames in chosen])


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    starts, seconds, count = [float(start) for start in sys.argv[2].split(",")], float(sys.argv[3]), int(sys.argv[4])
    files = sorted(folder.glob("*.mp4"))
    np.save(folder / "frames.npy", sampled(files[0], starts, seconds, count).numpy().astype(np.uint8))
    started = time.perf_counter()
    for file in files:
        sampled(file, starts, seconds, count)
    print(json.dumps({"seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
