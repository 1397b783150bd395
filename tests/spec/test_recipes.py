"""Recipes lie under profile, space and --set; what ships says what the sources say."""

import pytest
from test_files import problem, problem_in

from dks_study.spec.files import load_study
from dks_study.spec.shipped import SPACES
from dks_study.spec.study import arm_run
from dks_study.training.optim import lr_at

RECIPES = sorted(path.stem for path in (SPACES / "recipes").glob("*.yaml"))
SPACE = (SPACES / "dense_vs_oneway.yaml").read_text()
QUIRKS = {"decay_batch_norm": True, "reset_momentum": True, "keep_partial_batch": True}
# Which optimiser, batch, epochs, weight decay, and after which epochs the rate drops by what.
VALUES = {
    "cifar_wrn": (0.1, 0.9, 128, 200, 5e-4, (60, 120, 160), 0.2),
    "cifar_resnet": (0.1, 0.9, 128, 164, 1e-4, (81, 122), 0.1),
    "cifar_densenet": (0.1, 0.9, 64, 300, 1e-4, (150, 225), 0.1),
    "imagenet": (0.1, 0.9, 256, 100, 1e-4, (30, 60, 90), 0.1),
}


def on_cifar(recipe, *overrides):
    """The WRN profile, whose trial section leaves everything of a recipe to the recipe."""
    return load_study("dense_vs_oneway", "cifar100_wrn28_10", [f"recipe={recipe}", *overrides]).trial


@pytest.mark.parametrize("recipe", VALUES)
def test_what_ships_has_the_values_of_its_sources(recipe):
    run, (lr, momentum, batch, epochs, decay, drops, gamma) = on_cifar(recipe), VALUES[recipe]
    spec = run.optimiser
    assert (spec.name, spec.lr, spec.momentum, spec.nesterov) == ("sgd", lr, momentum, False)
    assert (spec.batch_size, run.epochs, spec.weight_decay) == (batch, epochs, decay)
    quirks = {key: getattr(spec, key) for key in QUIRKS}
    assert quirks == (QUIRKS if recipe == "cifar_wrn" else dict.fromkeys(QUIRKS, False))
    assert run.data.flip
    assert run.data.crop_pad_pixels == (0 if recipe == "imagenet" else 4)
    for steps in (351, 391):
        rates = [lr_at(spec, step / (epochs * steps)) for step in range(epochs * steps)]
        assert [step / steps for step in range(1, len(rates)) if rates[step] != rates[step - 1]] == list(drops)
        assert rates[-1] == pytest.approx(lr * gamma ** len(drops))


def test_transformers_have_the_values_of_deit():
    run = on_cifar("deit", "search.axes={}")
    spec, data = run.optimiser, run.data
    assert (spec.name, spec.lr, spec.betas, spec.weight_decay) == ("adamw", 5e-4 * 1024 / 512, (0.9, 0.999), 0.05)
    assert (spec.batch_size, run.epochs, spec.schedule) == (1024, 300, "cosine")
    assert round(spec.warmup * run.epochs) == 5
    assert lr_at(spec, 5 / 300) == pytest.approx(spec.lr, rel=0.01)
    assert lr_at(spec, 1 - 1e-6) == pytest.approx(0, abs=1e-9)
    assert (data.mixup_alpha, data.cutmix_alpha, data.random_erasing) == (0.8, 1.0, 0.25)
    assert (data.rand_augment_operations, data.rand_augment_magnitude, run.loss.label_smoothing) == (2, 9, 0.1)
    assert not any(getattr(spec, key) for key in QUIRKS)
    assert sorted([*VALUES, "deit"]) == RECIPES


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_ships_opens_with_its_contract(recipe):
    head = (SPACES / "recipes" / f"{recipe}.yaml").read_text().partition("about:")[0]
    for word in ("# Recipe: ", "# Source: ", "# Quirks: "):
        assert word in head


def test_profile_space_and_set_win_over_a_recipe_in_that_order(tmp_path):
    (tmp_path / "r.yaml").write_text("trial: {epochs: 7, optimiser: {lr: 0.11, gamma: 0.3, batch_size: 32}}")
    profile = (SPACES / "profiles" / "laptop.yaml").read_text().replace("about:", f"recipe: {tmp_path}/r.yaml\nabout:")
    (tmp_path / "p.yaml").write_text(profile)
    (tmp_path / "s.yaml").write_text(SPACE.replace("arms:", "trial: {optimiser: {batch_size: 16}}\narms:", 1))

    def values(*overrides):
        run = load_study(str(tmp_path / "s.yaml"), str(tmp_path / "p.yaml"), overrides).trial
        return run.epochs, run.optimiser.lr, run.optimiser.gamma, run.optimiser.batch_size

    assert values() == (10, 0.1, 0.3, 16), "gamma alone is the recipe's"
    assert values("trial.optimiser.gamma=0.4") == (10, 0.1, 0.4, 16)
    assert values("recipe=imagenet") == (10, 0.1, 0.1, 16)
    assert values("recipe=null") == (10, 0.1, 0.2, 16)


def test_a_space_can_name_a_recipe_and_arms_still_win(tmp_path):
    (tmp_path / "s.yaml").write_text(
        SPACE.replace("profile: laptop", "profile: cifar100_wrn28_10\nrecipe: cifar_resnet").replace(
            "dense: {", "dense: {optimiser.weight_decay: 0.5, "
        )
    )
    study = load_study(str(tmp_path / "s.yaml"))
    assert study.trial.epochs == 164
    assert arm_run(study, "dense", {}).optimiser.weight_decay == 0.5
    assert arm_run(study, "ds", {}).optimiser.weight_decay == 1e-4


def test_the_hash_knows_what_a_recipe_says_and_not_its_name(tmp_path):
    recipe = tmp_path / "copy.yaml"
    recipe.write_text((SPACES / "recipes" / "imagenet.yaml").read_text())
    named, copied = (load_study("dense_vs_oneway", None, [f"recipe={r}"]) for r in ("imagenet", recipe))
    assert named.content_hash() == copied.content_hash()
    recipe.write_text(recipe.read_text().replace("gamma: 0.1", "gamma: 0.2"))
    assert load_study("dense_vs_oneway", None, [f"recipe={recipe}"]).content_hash() != named.content_hash()


def test_a_recipe_that_is_not_there_gets_one_line(tmp_path):
    said = problem("recipe=cifar_wm")
    assert said.startswith(
        "--set: recipe: cifar_wm: no such recipe, did you mean cifar_wrn?; there are: cifar_densenet"
    )
    assert "\\n" in problem('recipe="a\\nb"')
    assert problem("recipe=[1]") == "--set: recipe: must name a file in search_spaces/recipes/, got [1]"
    text = SPACE.replace("profile: laptop", "profile: laptop\nrecipe: image_net")
    line = 1 + text.splitlines().index("recipe: image_net")
    found = problem_in(tmp_path, text)
    assert found.partition(": recipe: image_net: no such recipe, did you mean imagenet?")[0] == f"FILE:{line}"
    assert "recip: unknown key, did you mean recipe?" in problem("recip=imagenet")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trial:\n  optimiser: {gamma: 2}", "FILE:2: trial.optimiser.gamma: must be at most 1, got 2"),
        ("trial:\n  optimizer: {gamma: 1}", "FILE:2: trial.optimizer: unknown key, did you mean optimiser?"),
        ("about: x\nrecipe: imagenet", "FILE:2: recipe: a recipe holds `about` and `trial` alone"),
        ("report_seeds: [1]", "FILE:1: report_seeds: a recipe holds `about` and `trial` alone"),
        ("- 1", "FILE: the top level must be `key: value` lines"),
    ],
)
def test_a_mistake_in_a_recipe_is_found_in_the_recipe(tmp_path, text, message):
    (tmp_path / "r.yaml").write_text(text)
    assert message in problem(f"recipe={tmp_path}/r.yaml").replace(f"{tmp_path}/r.yaml", "FILE")


def test_a_mistake_over_a_recipe_is_found_where_it_was_made():
    said = problem("recipe=cifar_wrn", "trial.optimiser.gamma=2")
    assert said.startswith("--set: trial.optimiser.gamma: must be at most 1, got 2")
    assert "reset_momentum: needs sgd" in problem("recipe=cifar_wrn"), "the laptop's cosine is against it"
