#include "cli/training_options.h"

namespace ftt {

void AddTrainingOptions(CLI::App& app, TrainingOptions& o) {
  app.add_option("--epochs", o.epochs, "Passes over the training images");
  app.add_option("--batch", o.batch, "Images per step (and lane)");
  app.add_option("--limit", o.limit, "Training images used, class-balanced; 0: all");
  app.add_option("--lr", o.schedule.base, "Learning rate after warm-up");
  app.add_option("--schedule", o.schedule.kind, "constant, cosine or step");
  app.add_option("--milestones", o.schedule.milestones,
                 "step: fractions of the run at which the rate drops")
      ->delimiter(',');
  app.add_option("--lr-factor", o.schedule.factor, "step: factor at each milestone");
  app.add_option("--warmup", o.schedule.warmup,
                 "Fraction of the run with a linear ramp of the rate");
  app.add_option("--optimizer", o.optimizer.kind, "sgd or adam");
  app.add_option("--momentum", o.optimizer.momentum, "sgd: momentum, in [0, 1)");
  app.add_flag("--nesterov", o.optimizer.nesterov, "sgd: Nesterov momentum");
  app.add_option("--weight-decay", o.optimizer.weight_decay, "L2 penalty");
  app.add_option("--clip", o.optimizer.clip, "Largest L2 norm of the gradient; 0: off");
  app.add_option("--bits", o.bits, "Width of weights and features in bits, 4..8");
  app.add_option("--augment", o.augment, "Random crop and flip of training images (true or false)");
  app.add_option("--crop-padding", o.augmentation.crop_padding, "Pixels of border to crop from");
  app.add_option("--crop-border", o.augmentation.crop_border,
                 "What that border shows: reflect (the image mirrored at its edge) or black");
  app.add_option("--flip", o.augmentation.flip,
                 "Mirror half of the images (true or false; never for digits)");
  app.add_option("--cutout", o.augmentation.cutout,
                 "Side in pixels of a square painted over; 0: none");
}

void AddCellOptions(CLI::App& app, CellNetOptions& o) {
  app.add_option("--init-channels", o.init_channels, "Genotypes: channels of the first cells");
  app.add_option("--cells", o.cells, "Genotypes: number of cells; reductions at 1/3 and 2/3");
  app.add_option("--stem-multiplier", o.stem_multiplier,
                 "Genotypes: the stem has this many times the channels");
  app.add_option("--preprocess", o.preprocess, "Genotypes: relu_conv_bn_1x1 or relu_conv_bn_3x3");
  app.add_option("--dropout", o.dropout, "Genotypes: dropout before the classifier, in [0, 1)");
}

AugmentOptions Augmentation(const TrainingOptions& options, const Dataset& data) {
  AugmentOptions augmentation = options.augmentation;
  if (data.name == "mnist") augmentation.flip = false;
  augmentation.cutout_fill = MeanPixel(data);
  return augmentation;
}

}  // namespace ftt
