"""Derivatives of what a classifier says by the pixels of the images, which terms of the objective compare."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dks_study.spec.terms import Kind


def derivatives(
    kind: Kind, teacher: Tensor, student: Tensor, targets: Tensor, images: Tensor, detach_teacher: bool = True
) -> tuple[Tensor, Tensor]:
    """Return those of teacher and student, shape [B, C, H, W] each; where gradients are on they have some themselves.

    Args:
        kind: gradient: of an image's cross-entropy; jacobian: of its logit of the class that the teacher ranks first.
        teacher: logits of `images`, shape [B, K].
        student: likewise.
        targets: classes, int64 [B], or distributions over classes, shape [B, K].
        images: shape [B, C, H, W], requires a gradient.
        detach_teacher: let the student alone have a gradient.
    """
    learns = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.enable_grad():
        top = teacher.detach().argmax(1, keepdim=True)
        exact = [each.to(torch.promote_types(each.dtype, torch.float32)) for each in (teacher, student)]
        said = [
            F.cross_entropy(each, targets, reduction="sum") if kind == "gradient" else each.gather(1, top).sum()
            for each in exact
        ]
        theirs, mine = (
            torch.autograd.grad(each, images, create_graph=again, retain_graph=True)[0]
            for each, again in zip(said, (learns and not detach_teacher, learns), strict=True)
        )
    return theirs, mine
