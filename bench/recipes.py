"""Every training recipe beside its FP32 baseline: LeNet-5 on MNIST's digits and on Fashion-MNIST, several seeds.

    python bench/recipes.py -o bench/results/recipes.json

What the record has already is not trained again.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from experiments import Experiment, run_all

from quaver.golden import RECIPES, RNE, Cast, Recipe
from quaver.golden.catalog import E4M3, FP32
from quaver.train import Settings

TRAINED = [name for name, recipe in RECIPES.items() if recipe.post_training == "none"]
EPOCHS = {"mnist": 10, "fashion-mnist": 3}
"""Of each data set."""
MELLEMPUDI, GALLUS = RECIPES["mellempudi2019"], RECIPES["gallus2018"]
VARIANTS = {
    "mellempudi2019, activations to nearest": replace(
        MELLEMPUDI, activation=replace(MELLEMPUDI.activation, rounding=RNE)
    ),
    "mellempudi2019, forward in e4m3": replace(
        MELLEMPUDI, weight=Cast(format=E4M3), activation=replace(MELLEMPUDI.activation, format=E4M3)
    ),
    "gallus2018, float32 master weights": replace(GALLUS, master=FP32, velocity=FP32, update=RNE),
}
"""Recipes that fall behind on Fashion-MNIST, without what may put them there."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("-o", "--output", type=Path, required=True, help="the JSON file to write and to go on with")
    options.add_argument("--data", nargs="+", default=list(EPOCHS), help="data of `quaver train`")
    options.add_argument("--recipes", nargs="+", choices=TRAINED, default=TRAINED)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--epochs", type=int, help="by default 10 of MNIST's digits, 3 of Fashion-MNIST")
    options.add_argument("--jobs", type=int, default=2, help="trainings at a time (default 2)")
    asked = options.parse_args()

    def training(data: str, name: str, seed: int, recipe: Recipe) -> Experiment:
        epochs = asked.epochs or EPOCHS.get(data)
        settings = Settings.usual(recipe.name, "lenet5", data=data, epochs=epochs, seed=seed)
        return Experiment(f"{data} {name} {seed}", settings, recipe)

    experiments = [
        training(data, name, seed, RECIPES[name])
        for data in asked.data
        for seed in range(asked.seeds)
        for name in asked.recipes
    ]
    experiments += [
        training("fashion-mnist", name, seed, recipe)
        for name, recipe in VARIANTS.items()
        if "fashion-mnist" in asked.data and recipe.name in asked.recipes
        for seed in range(asked.seeds)
    ]
    run_all(__file__, experiments, asked.output, asked.jobs)


if __name__ == "__main__":
    main()
