"""How versions live side by side: what is too new, what lifts old data, what a new version may change."""

from stamp.evolution.compare import Change as Change
from stamp.evolution.compare import compare as compare
from stamp.evolution.formats import newest as newest
from stamp.evolution.formats import too_new as too_new
from stamp.evolution.subset import subset_problems as subset_problems
from stamp.evolution.upcast import Lift as Lift
from stamp.evolution.upcast import Upcast as Upcast
from stamp.evolution.upcast import Upcasters as Upcasters
