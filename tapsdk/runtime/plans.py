"""The ways to run a model, by name, and which of them an artifact allows."""

from __future__ import annotations

from typing import TypeAlias

from tapsdk.artifact.manifest import Manifest
from tapsdk.backends import Place
from tapsdk.runtime.causal import FusedPlan
from tapsdk.runtime.native import NativePlan
from tapsdk.runtime.refined import RefinedPlan
from tapsdk.runtime.whole import WholePlan

Plan: TypeAlias = FusedPlan | NativePlan | RefinedPlan | WholePlan
PLANS: dict[str, type[FusedPlan] | type[NativePlan] | type[RefinedPlan] | type[WholePlan]] = {
    plan.name: plan for plan in (FusedPlan, NativePlan, RefinedPlan, WholePlan)
}


def plans_of(manifest: Manifest, format: str) -> tuple[str, ...]:
    """Plans that the artifact's files of a format allow."""
    return tuple(name for name, plan in PLANS.items() if plan.fits(manifest, format))


def suits(plan: str, place: Place) -> bool:
    """Whether the plan of that name may be chosen where a backend computes: kernels want the processor."""
    return place.on_processor or not issubclass(PLANS[plan], NativePlan)
