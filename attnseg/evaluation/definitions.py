"""What each number of an evaluation means, as its JSON says it."""

from attnseg.evaluation.figures import FIGURES

DEFINITIONS = {
    "dice": "Dice = 2|A∩B|/(|A|+|B|) over voxels; null where both masks lack the label",
    "mean, median, sd, min": "Dice of one label over the cases where it is not null; sd is the "
    "sample's (divided by n - 1), null for a single case",
    "ci95": "95 % confidence interval of the mean: percentiles 2.5 and 97.5 of the means of 10000 "
    "draws of as many cases, with replacement; null for a single case",
    "cases": "cases where the Dice of the label is not null",
    "both_empty": "cases where neither mask has the label; they are in no mean",
    "missed": "cases where the reference has the label and the prediction does not",
    "false_alarm": "cases where the prediction has the label and the reference does not",
    "mean_dice": "mean over the labels of their mean Dice, with its ci95; for one case, mean over "
    "its labels; sd is that of the cases' means",
    "predicted_voxels, reference_voxels": "voxels of the label; of a picture, pixels",
    "predicted_ml, reference_ml": "voxels of the label × voxel volume, in millilitres; null for "
    "pictures, whose pixels have no known size",
    "labels": "every value but 0 that any prediction or reference holds; where the data set has "
    "regions, those: the voxels of all labels that belong to one",
    "ignored": "voxels that the reference marks to be ignored are in no count, and a label that "
    "was not drawn in a case (labels_present) is not scored there",
    "not_predicted": "references without a prediction; they are in no mean",
    "failed": "cases that could not be compared, with the reason; they are in no mean",
}
FULL_DEFINITIONS = {
    "figures": "mean of each figure of a label over the cases where it is not null, the ci95 of "
    "that mean, the number of those cases, and of how many cases in which either mask has the "
    "label; all are null where both masks lack the label. Distances are null, too, where one mask "
    "alone has it (missed, false_alarm): such a case is in no mean of distances",
    "mean_figures": "mean over the labels of their mean of each figure; a label that has none is "
    "in no mean",
    "mean_figures_over": "of each of mean_figures, how many labels it is taken over, of_labels "
    "how many, and over how many of their cases, of how many",
    "tolerance_mm": "distance up to which surfaces agree (nsd), in distance_unit",
    "distance_unit": "of tolerance_mm, hd95_mm and assd_mm, whose names stay: mm; px for pictures, "
    "whose pixels have no known size; mm/px over cases of both, each in its own",
    **FIGURES,
}
