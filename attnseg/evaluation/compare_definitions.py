"""What each number of a comparison means, as its JSON says it."""

DEFINITIONS = {
    "difference": "mean over the cases of B - A; positive means that B is better, of distances "
    "(hd95_mm, assd_mm), of which less is better, that A is",
    "ci95": "95 % confidence interval of the mean difference: percentiles 2.5 and 97.5 of the "
    "means of 10000 draws of as many cases, with replacement, both methods together; null for a "
    "single case; too narrow for fewer than 10; not adjusted for the number of labels",
    "mean_a, mean_b": "means over the cases where both have a number",
    "cases": "how many cases those are",
    "of": "in how many cases the reference or a method has the label; what is not among `cases` is "
    "in no mean",
    "judged": "whether the means may say which method is better. false where one method misses "
    "what the other finds (a miss has no distance, so that the means are of what both found), and "
    "where the better one loses as many cases as it wins, or more, and has more false alarms of "
    "its own than the other",
    "p": "Wilcoxon's signed-rank test of the differences, two-sided; differences of zero are left "
    "out (zero_method wilcox); 1 where all are zero; null where judged is false: the cases with a "
    "number are then no fair sample",
    "p_holm": "p adjusted by Holm's method for the number of labels that have a p; null for the "
    "mean over labels",
    "wins, ties, losses": "cases where B is better, within the margin, worse, beyond the margin; a "
    "case without a number by the fault of one method (missed, false alarm) is lost for that one; "
    "of the mean over labels, for the one at fault on more labels",
    "margin": "the largest difference that is a tie",
    "unit": "of the numbers, differences and margin; of hd95_mm and assd_mm, whose names stay: mm; "
    "px for pictures, whose pixels have no known size; mm/px over cases of both; empty for ratios",
    "present": "cases where the reference has the label; of the mean over labels, structures (a "
    "label in a case), as in found, missed, alarms and compared",
    "found_a, found_b": "how many of those A (B) has voxels of the label in",
    "missed_a, missed_b": "how many of those have no number because A (B) alone misses the label, "
    "as where a distance is asked for: lost for that one, in no mean. The overlap of a miss is 0 "
    "(dice, iou, nsd), and is in the means",
    "alarms_a, alarms_b": "cases where the reference lacks the label and A (B) has voxels of it",
    "alarms_a_alone, alarms_b_alone": "how many of those the other method has no voxels in: lost "
    "for A (B), in no mean",
    "compared": "numbers that both have: of a label as many as cases",
    "left_out": "cases in no mean and no count of wins: neither method has a number, or nobody has "
    "the label",
    "sizes": "thirds of the label's cases by volume in the reference (low to high, in the unit "
    "volume_unit), missed ones too, cases of one volume together, each with difference and ci95 "
    "over its cases with numbers, `cases` of `of`; none for fewer than six cases",
    "mean_over_labels": "of each case, the mean over the labels for which both have a number",
    "lost_by": "the method by whose fault a label of a case has no pair of numbers; else null",
    "worst": "ten cases: those with most labels that are lost by one method come first, then those "
    "where the lower (of distances, higher) of both methods' means over labels is worst",
    "most_changed": "ten cases: those with a label that is lost by one method come first, then "
    "those with the largest difference on any label, ties left out",
    "only_a, only_b": "cases of which the other has no mask; they are in no number",
    "in_neither": "references of which neither has a mask",
    "failed": "cases that could not be compared with the reference, with the reason",
}
