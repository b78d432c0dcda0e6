"""A score for a row of 30 measurements, by gradient-boosted trees."""

import numpy
import xgboost
from pydantic import BaseModel, Field
from sklearn.datasets import load_breast_cancer

COLUMNS = 30
ROUNDS = 60
#: The suspicious class is the rarer one; a miss costs more than a second look.
THRESHOLD = 0.3


class Input(BaseModel):
    """One row."""

    features: list[float] = Field(
        min_length=COLUMNS,
        max_length=COLUMNS,
        description="30 measurements, in the order of the training data.",
    )


class Output(BaseModel):
    """How suspicious the row is."""

    score: float = Field(ge=0, le=1, description="Probability that the row is suspicious.")
    suspicious: bool = Field(description=f"Whether the score is {THRESHOLD} or more.")


class Model:
    """Scores rows of a table; trees, so a CPU is all it needs."""

    max_batch = 256
    example = Input(
        features=[
            *(17.99, 10.38, 122.8, 1001.0, 0.1184, 0.2776, 0.3001, 0.1471, 0.2419, 0.07871),
            *(1.095, 0.9053, 8.589, 153.4, 0.006399, 0.04904, 0.05373, 0.01587, 0.03003, 0.006193),
            *(25.38, 17.33, 184.6, 2019.0, 0.1622, 0.6656, 0.7119, 0.2654, 0.4601, 0.1189),
        ]
    )

    def load(self, ctx):
        """Train on the data that ships with scikit-learn; it takes a fraction of a second."""
        rows, benign = load_breast_cancer(return_X_y=True)
        settings = {"objective": "binary:logistic", "max_depth": 4, "eta": 0.2, "seed": 0}
        self.booster = xgboost.train(settings, xgboost.DMatrix(rows, 1 - benign), ROUNDS)

    def predict(self, batch, ctx):
        """One call for the whole batch."""
        rows = numpy.array([each.features for each in batch])
        return self.booster.inplace_predict(rows).tolist()

    def finish(self, raw):
        """The verdict that goes with the score."""
        return Output(score=raw, suspicious=raw >= THRESHOLD)
