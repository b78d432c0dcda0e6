"""Where the models are that these tests serve."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODELS = Path(__file__).resolve().parent / "models"
EXAMPLES = ROOT / "examples"
