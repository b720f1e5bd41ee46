"""The built-in parts, offered by the same hooks as anyone's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pladapt.plugins.hookspecs import Registration, hookimpl

if TYPE_CHECKING:
    from pladapt.typing import Evaluator, Gate, Predictor, Recalibrator, Retrainer, Selector


@hookimpl
def pladapt_selectors() -> list[Registration[Selector]]:
    """Offer the built-in selectors."""
    return [
        Registration(
            "certainty-index",
            "pladapt.selection.certainty_index:CertaintyIndexSelector",
            "Keeps the predictions that are surest of their foreground (the paper's Eq. 1).",
        ),
        Registration(
            "foreground-entropy",
            "pladapt.selection.foreground_entropy:ForegroundEntropySelector",
            "Keeps the predictions with the least entropy in their foreground.",
        ),
        Registration(
            "soft-dice",
            "pladapt.selection.soft_dice:SoftDiceSelector",
            "Keeps the predictions whose mask agrees best with their own probabilities.",
        ),
        Registration(
            "pairwise-dice",
            "pladapt.selection.pairwise_dice:PairwiseDiceSelector",
            "Keeps the predictions whose members agree best (needs a predictor with members).",
        ),
        Registration(
            "boundary-free-certainty",
            "pladapt.selection.boundary_free_certainty:BoundaryFreeCertaintySelector",
            "Keeps the predictions that are surest of their foreground off its boundary.",
        ),
        Registration(
            "trimmed-certainty",
            "pladapt.selection.trimmed_certainty:TrimmedCertaintySelector",
            "Keeps the predictions with the highest trimmed mean or median in their foreground.",
        ),
        Registration(
            "neighbour-agreement",
            "pladapt.selection.neighbour_agreement:NeighbourAgreementSelector",
            "Keeps the predictions that agree with their neighbours in the group's order.",
        ),
        Registration(
            "certain-negatives",
            "pladapt.selection.certain_negatives:CertainNegativesSelector",
            "Keeps what another selector keeps, and samples that surely show nothing.",
        ),
        Registration(
            "random",
            "pladapt.selection.random_control:RandomSelector",
            "Keeps predictions by chance: the control of every study of a score.",
        ),
    ]


@hookimpl
def pladapt_retrainers() -> list[Registration[Retrainer]]:
    """Offer the built-in retrainers."""
    return [
        Registration(
            "fine-tune",
            "pladapt.torch:FineTune",
            "Trains the torch module on with the pseudo-labels (needs pladapt[torch]).",
        )
    ]


@hookimpl
def pladapt_evaluators() -> list[Registration[Evaluator]]:
    """Offer the built-in evaluators."""
    return [
        Registration(
            "overlap",
            "pladapt.evaluation.evaluators:OverlapEvaluator",
            "Measures DSC, SEN and SPC per sample, per group and pooled.",
        ),
        Registration(
            "detail",
            "pladapt.evaluation.evaluators:DetailEvaluator",
            "Measures NSD and HD95 in mm, lesions found and invented, and the bias of volumes.",
        ),
    ]


@hookimpl
def pladapt_gates() -> list[Registration[Gate]]:
    """Offer the built-in gates."""
    return [
        Registration(
            "do-no-harm",
            "pladapt.evidence.gates:DoNoHarm",
            "Refuses a round after which the masks of the target collapse or are rewritten.",
        )
    ]


@hookimpl
def pladapt_recalibrators() -> list[Registration[Recalibrator]]:
    """Offer the built-in recalibrators."""
    return [
        Registration(
            "agreement",
            "pladapt.torch:AgreementRecalibrator",
            "Measures batch normalisation anew where the network then agrees better with itself "
            "(needs pladapt[torch]).",
        )
    ]


@hookimpl
def pladapt_predictors() -> list[Registration[Predictor]]:
    """Offer the built-in predictors."""
    return [
        Registration(
            "torch",
            "pladapt.torch:TorchPredictor",
            "Runs a torch module that gives logits (needs pladapt[torch]).",
        ),
        Registration(
            "onnx",
            "pladapt.onnx:OnnxPredictor",
            "Runs an ONNX file (needs pladapt[onnx-gpu] or pladapt[onnx-cpu]).",
        ),
    ]


@hookimpl
def pladapt_networks() -> list[Registration[Any]]:
    """Offer the networks of other libraries."""
    return [
        Registration(
            "smp",
            "pladapt.torch.loaders.smp:load",
            "smp:FOLDER, saved by segmentation-models-pytorch (needs pladapt[smp]).",
        ),
        Registration(
            "monai-bundle",
            "pladapt.torch.loaders.monai_bundle:load",
            "monai-bundle:FOLDER, a bundle of MONAI (needs pladapt[monai]).",
        ),
        Registration(
            "nnunet",
            "pladapt.torch.loaders.nnunet:load",
            "nnunet:FOLDER, trained by nnU-Net v2, with all folds (needs pladapt[nnunet]).",
        ),
        Registration(
            "transformers",
            "pladapt.torch.loaders.transformers:load",
            "transformers:FOLDER, for semantic segmentation (needs pladapt[transformers]).",
        ),
        Registration(
            "torchvision",
            "pladapt.torch.loaders.torchvision:load",
            "torchvision:NAME and a file of weights (needs pladapt[torchvision]).",
        ),
    ]


@hookimpl
def pladapt_recipes() -> list[Registration[Any]]:
    """Offer the built-in recipes."""
    return [
        Registration(
            "paper",
            "pladapt.recipes.paper:paper",
            "One round on the predictions with the highest certainty index (needs pladapt[torch]).",
        ),
        Registration(
            "robust",
            "pladapt.recipes.robust:robust",
            "What we recommend: changes a model only where evidence says that it helps "
            "(needs pladapt[torch]).",
        ),
    ]
