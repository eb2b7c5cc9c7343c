// A batch of the device's deploy executor, from its pixels to logits.
#include "engine/cuda/cuda_deploy.h"
#include "engine/cuda/layout.h"
#include "kernels/cuda/input.h"
#include "kernels/cuda/quantize.h"

namespace ftt::cuda {

void CudaDeployExecutor::PlanArena() {
  if (planned_lanes_ == lanes_ && planned_images_ >= images_) return;
  layout_ = PlanDeployment(program_, lanes_, images_);
  arena_.Resize(layout_.values.total);
  sums_.Resize(layout_.sums);
  logits_memory_.Resize(layout_.logits);
  planned_lanes_ = lanes_;
  planned_images_ = images_;
}

void CudaDeployExecutor::Stage(const uint8_t* pixels, const uint32_t* image_ids, int images) {
  images_ = images;
  PlanArena();
  const int64_t strike_bytes = faults_->StrikeBytes(images);
  if (strike_bytes > strikes_.Size()) strikes_.Resize(strike_bytes);
  faults_->PlaceStrikes(strikes_.As<uint32_t>(), images);
  batch_staging_.Begin();
  pixels_ = batch_staging_.Add(pixels, images * program_.InputShape().Elements());
  image_ids_ = batch_staging_.Add(image_ids, images);
  batch_staging_.Send(stream_.Get());
  images_run_ += images;
}

void CudaDeployExecutor::EncodeInput() {
  const MapShape map = MapOf(program_.InputShape(), lanes_run_, images_);
  EncodeArguments e;
  e.shape = map;
  e.pixels = pixels_;
  e.table = table_.As<int8_t>();
  e.codes = DeviceCodes(0);
  Encode(e, stream_.Get());
  const SiteFaultsView faults = FaultsAt(0);
  if (faults.lanes != nullptr) Inject({map, faults, DeviceCodes(0)}, stream_.Get());
}

void CudaDeployExecutor::Begin(const uint8_t* pixels, const uint32_t* image_ids, int images) {
  Stage(pixels, image_ids, images);
  lanes_run_ = lanes_;
  faults_->DrawStrikes(StrikePart::kAll, image_ids_, stream_.Get());
  EncodeInput();
}

// Faults of the first sites before everything else, those of the others while ops run.
void CudaDeployExecutor::DrawStrikesBeside() {
  drawing_ = faults_->RestOfStrikesFrom() < static_cast<int>(program_.values.size());
  if (drawing_) {
    batch_ready_.Record(stream_.Get());
    batch_ready_.HoldBack(draw_stream_.Get());
    faults_->DrawStrikes(StrikePart::kRest, image_ids_, draw_stream_.Get());
    drawn_.Record(draw_stream_.Get());
  }
  faults_->DrawStrikes(StrikePart::kFirst, image_ids_, stream_.Get());
}

// For the launch that comes next.
SiteFaultsView CudaDeployExecutor::FaultsAt(int value) {
  if (drawing_ && value >= faults_->RestOfStrikesFrom()) {
    drawn_.HoldBack(stream_.Get());
    drawing_ = false;
  }
  return faults_->Feature(value, image_ids_);
}

const std::vector<float>& CudaDeployExecutor::Run(const uint8_t* pixels, const uint32_t* image_ids,
                                                  int images) {
  Stage(pixels, image_ids, images);
  graphs_.Run(BatchKey(), stream_.Get(), [this] { Enqueue(); });
  return Logits();
}

// What differs between two batches with one BatchKey comes from device memory.
void CudaDeployExecutor::Enqueue() {
  lanes_run_ = shared_ops_ > 0 ? 1 : lanes_;
  DrawStrikesBeside();
  EncodeInput();
  RunOps(0, shared_ops_);
  if (shared_ops_ > 0) SpreadFirstLane();
  RunOps(shared_ops_, program_.ops.size());
}

void CudaDeployExecutor::SpreadFirstLane() {
  lanes_run_ = lanes_;
  const std::vector<char> read = ReadByOpsFrom(program_, shared_ops_);
  for (size_t v = 0; v < read.size(); ++v) {
    if (read[v] == 0) continue;
    int8_t* codes = DeviceCodes(static_cast<int>(v));
    const int64_t n = MapOf(ShapeOf(static_cast<int>(v)), 1, images_).LaneElements();
    for (int lane = 1; lane < lanes_; ++lane)
      CopyOnDevice(codes + lane * n, codes, n, stream_.Get());
  }
}

GraphKey CudaDeployExecutor::BatchKey() const {
  GraphKey key;
  key.AddAll(lanes_, images_, shared_ops_, pixels_, image_ids_);
  for (const DeviceMemory* memory :
       {&norms_, &weights_, &exponents_, &units_, &table_, &arena_, &sums_, &logits_memory_})
    key.Add(memory->Data());
  for (const int64_t offset : layout_.values.offsets) key.Add(offset);
  for (const OpConstants& c : constants_) key.AddAll(c.weights, c.one_weight);
  faults_->AddTo(key);
  return key;
}

const std::vector<float>& CudaDeployExecutor::Logits() {
  logits_.resize(static_cast<size_t>(int64_t{lanes_} * images_ * program_.classes));
  CopyToHost(logits_.data(), logits_memory_.Data(),
             static_cast<int64_t>(logits_.size() * sizeof(float)), stream_.Get());
  stream_.Wait();
  return logits_;
}

const int8_t* CudaDeployExecutor::Codes(int value) {
  const MapShape map = MapOf(ShapeOf(value), lanes_, images_);
  std::vector<int8_t> padded(static_cast<size_t>(map.lanes * map.LaneElements()));
  CopyToHost(padded.data(), DeviceCodes(value), static_cast<int64_t>(padded.size()), stream_.Get());
  stream_.Wait();
  codes_.clear();
  for (size_t at = 0; at < padded.size(); at += static_cast<size_t>(map.Stride()))
    codes_.insert(codes_.end(), padded.begin() + static_cast<int64_t>(at),
                  padded.begin() + static_cast<int64_t>(at) + map.channels);
  return codes_.data();
}

}  // namespace ftt::cuda
