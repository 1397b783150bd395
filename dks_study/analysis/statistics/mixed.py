"""A linear mixed model over several data sets and backbones: the effect of an arm in general, not on one network."""

import warnings

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.formula.api import mixedlm
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from dks_study.study.results import ResultsError


def mixed_effects(errors: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Estimate each arm's difference to `reference` over contexts (a context: one data set with one backbone).

    error = arm + context + arm in context + seed in context + rest, where only `arm` is fixed. Because an arm's effect
    may vary from context to context, two contexts say little however many seeds they have; the intervals and p-values
    are therefore those of t with (contexts - 1) degrees of freedom, not of the normal distribution (statsmodels'
    default), which is far too sure of itself with few contexts.

    Args:
        errors: one row per trial with the columns arm, context, seed and error (%).
        reference: the arm that the others are compared with.

    Returns:
        One row per other arm: arm, difference, low, high (95 %), p, contexts, converged.

    Raises:
        ResultsError: if there are fewer than two contexts, or a context lacks an arm.
    """
    arms = [arm for arm in pd.unique(errors["arm"]) if arm != reference]
    contexts = errors["context"].nunique()
    crossed = errors.groupby(["context", "arm"]).size().unstack()
    if contexts < 2 or reference not in crossed or crossed.isna().to_numpy().any():
        raise ResultsError("a mixed model needs two contexts or more, each with every arm and the reference")
    with warnings.catch_warnings():  # a variance estimated as 0 lies on the boundary, which is no failure
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit = mixedlm(
            f"error ~ C(arm, Treatment({reference!r}))",
            errors.assign(error=errors["error"].astype(float)),
            groups="context",
            re_formula="1",
            vc_formula={"arm": "0 + C(arm)", "seed": "0 + C(seed)"},
        ).fit(reml=True, method=["lbfgs", "powell"])
    width = float(stats.t.ppf(0.975, contexts - 1))
    rows = []
    for arm in arms:
        name = f"C(arm, Treatment({reference!r}))[T.{arm}]"
        mean, error = float(fit.fe_params[name]), float(fit.bse_fe[name])
        p = 2 * float(stats.t.sf(abs(mean) / error, contexts - 1)) if np.isfinite(error) and error > 0 else float("nan")
        rows.append((arm, mean, mean - width * error, mean + width * error, p, contexts, bool(fit.converged)))
    return pd.DataFrame(rows, columns=["arm", "difference", "low", "high", "p", "contexts", "converged"])
