"""The named terms of the objective: pure functions of features and logits, each with its formula and source.

Shapes: B images, C channels, C' channels of a second tap, H x W pixels, D numbers, K classes. Half precision is
promoted to float32. Means are over images. Distances of feature maps are means over elements, too, as in Tian et al.
(ICLR 2020), so that a weight means the same at every tap; where a paper writes a sum, that is this times their number.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from dks_study.method.derivatives import derivatives
from dks_study.spec.pairing import parse_pair
from dks_study.spec.terms import OF_IMAGES, TermSpec

Sides = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]  # what a pair compares: teacher, student


def term_values(
    name: str,
    term: TermSpec,
    pairs: tuple[str, ...],
    logits: Mapping[str, Tensor],
    targets: Tensor,
    features: Mapping[str, Sides],
    images: Tensor | None,
    detach_teacher: bool,
) -> dict[str, Tensor]:
    """Return the unweighted value, shape [], of each pair of a term by its reported name, `hint/teacher.stage2>stage2`.

    Args:
        name: of the term.
        term: what is compared.
        pairs: between whom, as 'teacher>student'.
        logits: by classifier, shape [B, K].
        targets: true classes, int64 [B].
        features: of each pair of a term on features both sides, by its reported name.
        images: what the logits come from, for terms on derivatives by the pixels.
        detach_teacher: let the student alone have a gradient.

    Raises:
        KeyError: if there are no logits or features of that name.
    """
    values = dict[str, Tensor]()
    for pair in pairs:
        key = f"{name}/{pair}"
        if term.kind == "dkd":
            first, second = parse_pair(pair)
            teacher, student = _ready(logits[first], detach_teacher), _ready(logits[second])
            values[key] = dkd(teacher, student, targets, term)
        elif term.kind in OF_IMAGES:
            assert images is not None
            first, second = parse_pair(pair)
            compared = derivatives(term.kind, logits[first], logits[second], targets, images, detach_teacher)
            values[key] = _OF_IMAGES[term.kind](*compared)
        else:
            teachers, students = features[key]
            sides = [*(_ready(each, detach_teacher) for each in teachers), *map(_ready, students)]
            values[key] = _OF_FEATURES[term.kind](*sides)
    return values


def hint(teacher: Tensor, student: Tensor) -> Tensor:
    """Return the mean of (u - r(v))^2: FitNets (Romero et al., ICLR 2015, equation 3: half of the sum).

    Args:
        teacher: the hint u, shape [B, C, H, W] or any other.
        student: the regressor's answer r(v) to the guided layer v, the same shape but for H and W.
    """
    student, teacher = _same_size(student, teacher)
    return F.mse_loss(student, teacher)


def attention(teacher: Tensor, student: Tensor) -> Tensor:
    """Return the mean of (Q_s / ||Q_s|| - Q_t / ||Q_t||)^2 with Q = sum over channels of |A|^2, over H x W pixels.

    Source: activation-based attention transfer (Zagoruyko and Komodakis, ICLR 2017, equation 2), which writes the norm
    of the difference; the mean of its square is what the authors' code and Tian et al. take.

    Args:
        teacher: feature map A, shape [B, C, H, W].
        student: another one of any size.
    """
    of_student, of_teacher = (F.normalize(each.square().sum(1).flatten(1)) for each in _same_size(student, teacher))
    return F.mse_loss(of_student, of_teacher)


def fsp(teacher: Tensor, teacher_after: Tensor, student: Tensor, student_after: Tensor) -> Tensor:
    """Return the mean of (G_s - G_t)^2 with the flow G = sum over pixels of F1 F2^T / (H W), shape [B, C, C'].

    Source: Yim et al. (CVPR 2017), equations 1 and 2 (the sum over elements). Of two taps of other sizes the larger is
    pooled by means.

    Args:
        teacher: feature map F1 of the teacher, shape [B, C, H, W].
        teacher_after: F2, shape [B, C', H', W'].
        student: feature map F1 of the student, with as many channels; its resolution is its own.
        student_after: F2 of the student.
    """
    return F.mse_loss(_flow(student, student_after), _flow(teacher, teacher_after))


def embedding(teacher: Tensor, student: Tensor) -> Tensor:
    """Return ||F_s - F_t||^2, the sum over D numbers, mean over images: BYOT's hint (Zhang et al., ICCV 2019).

    Args:
        teacher: what the last linear layer of the teaching classifier is given, shape [B, D].
        student: the same of the student, brought to D numbers.
    """
    return (student - teacher).square().sum(1).mean()


def dkd(teacher: Tensor, student: Tensor, targets: Tensor, term: TermSpec) -> Tensor:
    """Return T^2 (alpha KL(b_t || b_s) + beta KL(q_t || q_s)): decoupled KD (Zhao et al., CVPR 2022, equation 7).

    p = softmax(logits / T); b = (p of the true class, 1 - that); q = softmax over all other classes.

    Args:
        teacher: logits, shape [B, K].
        student: logits, shape [B, K].
        targets: true classes, int64 [B].
        term: alpha is its `target_weight`, beta its `rest_weight`, T its `temperature`.
    """
    scaled = [each / term.temperature for each in (teacher, student)]
    target = _kl(*(_binary(each, targets) for each in scaled))
    rest = _kl(*(F.log_softmax(_others(each, targets), dim=1) for each in scaled))
    return term.temperature**2 * (term.target_weight * target + term.rest_weight * rest)


def gradient(teacher: Tensor, student: Tensor) -> Tensor:
    """Return the mean of (J_s - J_t)^2, J the derivative of an image's cross-entropy by its pixels.

    Source: attention transfer by gradients (Zagoruyko and Komodakis, ICLR 2017, section 3.2: half of the sum; from
    memory).

    Args:
        teacher: J_t, shape [B, C, H, W].
        student: J_s, the same shape.
    """
    return F.mse_loss(student, teacher)


def jacobian(teacher: Tensor, student: Tensor) -> Tensor:
    """Return the mean of (J_s / ||J_s|| - J_t / ||J_t||)^2, J the derivative of one logit by the pixels.

    Source: Jacobian matching (Srinivas and Fleuret, ICML 2018, from memory: one output instead of the whole Jacobian,
    norms of images, the sum of squares).

    Args:
        teacher: J_t, shape [B, C, H, W], of the class that the teacher ranks first.
        student: J_s, the same shape, of the same class.
    """
    return F.mse_loss(F.normalize(student.flatten(1)), F.normalize(teacher.flatten(1)))


_OF_IMAGES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"gradient": gradient, "jacobian": jacobian}
_OF_FEATURES: Mapping[str, Callable[..., Tensor]] = {
    "hint": hint,
    "attention": attention,
    "fsp": fsp,
    "embedding": embedding,
}


def _ready(values: Tensor, detached: bool = False) -> Tensor:
    exact = values.to(torch.promote_types(values.dtype, torch.float32))
    return exact.detach() if detached else exact


def _same_size(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return feature maps [B, ., H, W] pooled to the smaller height and width of both; others as they are."""
    if one.ndim != 4:
        return one, other
    size = min(one.shape[2], other.shape[2]), min(one.shape[3], other.shape[3])
    first, second = (each if each.shape[2:] == size else F.adaptive_avg_pool2d(each, size) for each in (one, other))
    return first, second


def _flow(first: Tensor, second: Tensor) -> Tensor:
    first, second = (each.flatten(2) for each in _same_size(first, second))
    return first @ second.transpose(1, 2) / first.shape[2]


def _others(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the logits [B, K - 1] of all classes but the true one."""
    classes = torch.arange(logits.shape[1] - 1, device=logits.device)
    return logits.gather(1, classes + (classes >= targets.unsqueeze(1)))


def _binary(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the logarithms [B, 2] of the probability of the true class and of that of all others together."""
    true = logits.gather(1, targets.unsqueeze(1)).squeeze(1)
    return F.log_softmax(torch.stack([true, _others(logits, targets).logsumexp(1)], 1), dim=1)


def _kl(teacher_log_p: Tensor, student_log_p: Tensor) -> Tensor:
    return F.kl_div(student_log_p, teacher_log_p, reduction="batchmean", log_target=True)
