#include "tests/ptx/launch.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "tests/ptx/warp.h"

namespace ftt::ptx {
namespace {

constexpr uint8_t kSharedSentinel = 0xCD;

// Runs a warp until each of its lanes has ended or waits at a barrier. Of lanes at several places
// those furthest inside of calls go first, then those furthest behind: so they meet again where
// their ways do.
class Scheduler {
 public:
  explicit Scheduler(Warp* warp) : warp_(*warp), code_(warp->block->program->code) {}

  void Run() {
    while (const Group* group = Pick()) Advance(static_cast<size_t>(group - warp_.groups.data()));
    for (const Group& g : warp_.groups)
      if (g.waits)
        Misuse(warp_, At(g), std::countr_zero(g.lanes),
               "a warp operation that not all of its lanes reach");
  }

 private:
  const Instruction& At(const Group& group) const { return code_[static_cast<size_t>(group.at)]; }

  // The group to go on with; groups that are at the same place are joined first.
  Group* Pick() {
    std::vector<Group>& groups = warp_.groups;
    Group* best = nullptr;
    for (size_t i = 0; i < groups.size(); ++i) {
      for (size_t j = i + 1; j < groups.size();) {
        const bool same = groups[i].at == groups[j].at && groups[i].returns == groups[j].returns &&
                          groups[i].at_barrier == groups[j].at_barrier;
        if (!same) {
          ++j;
          continue;
        }
        groups[i].lanes |= groups[j].lanes;
        groups[i].waits = false;
        groups.erase(groups.begin() + static_cast<std::ptrdiff_t>(j));
      }
    }
    for (Group& g : groups) {
      if (g.at_barrier || g.waits) continue;
      if (best == nullptr || g.returns.size() > best->returns.size() ||
          (g.returns.size() == best->returns.size() && g.at < best->at))
        best = &g;
    }
    return best;
  }

  // The place where this group may meet others: no instruction from there on runs unasked.
  int64_t Limit(const Group& group) const {
    int64_t limit = INT64_MAX;
    for (const Group& other : warp_.groups)
      if (&other != &group && other.returns.size() == group.returns.size() && other.at >= group.at)
        limit = std::min(limit, other.at);
    return limit;
  }

  Mask Guarded(const Instruction& in, Mask lanes) const {
    if (in.guard < 0) return lanes;
    const Mask p = warp_.predicates[static_cast<size_t>(in.guard)];
    return lanes & (in.negated ? ~p : p);
  }
  void Note(const Instruction& in, Mask active) {
    if (warp_.block->counts == nullptr) return;
    Count& count = (*warp_.block->counts)[static_cast<size_t>(&in - code_.data())];
    ++count.executed;
    count.lanes += std::popcount(active);
  }

  // Runs one group until it splits, waits, ends or may meet another one.
  void Advance(size_t which) {
    Group& group = warp_.groups[which];
    int64_t limit = Limit(group);
    for (bool first = true; first || group.at < limit; first = false) {
      const Instruction& in = At(group);
      const Mask active = Guarded(in, group.lanes);
      Note(in, active);
      switch (in.kind) {
        case Kind::kPlain:
          if (active != 0) in.run(warp_, in, active);
          ++group.at;
          break;
        case Kind::kBranch:
          if (active == group.lanes) {
            const bool back = in.offset < group.at;
            group.at = in.offset;
            if (back) limit = Limit(group);
          } else if (active == 0) {
            ++group.at;
          } else {
            Group taken = group;
            taken.at = in.offset;
            taken.lanes = active;
            group.lanes &= ~active;
            ++group.at;
            warp_.groups.push_back(std::move(taken));
            return;
          }
          break;
        case Kind::kCall:
          group.returns.push_back(group.at + 1);
          group.at = in.offset;
          return;
        case Kind::kReturn:
          if (active == 0) {
            ++group.at;
            break;
          }
          Return(which, active);
          return;
        case Kind::kBarrier:
          if (active != warp_.alive)
            Misuse(warp_, in, std::countr_zero(group.lanes), "a barrier for a part of a warp");
          ++group.at;
          group.at_barrier = true;
          return;
        case Kind::kMaskedSync:
        case Kind::kWholeWarp:
          if (!Complete(in, active, group)) return;
          in.run(warp_, in, active);
          ++group.at;
          break;
      }
    }
  }

  void Return(size_t which, Mask active) {
    Group& group = warp_.groups[which];
    Group rest = group;
    rest.lanes &= ~active;
    ++rest.at;
    if (group.returns.empty()) {
      CheckEnd(active, At(group));
      warp_.alive &= ~active;
      warp_.groups.erase(warp_.groups.begin() + static_cast<std::ptrdiff_t>(which));
    } else {
      group.lanes = active;
      group.at = group.returns.back();
      group.returns.pop_back();
    }
    if (rest.lanes != 0) warp_.groups.push_back(std::move(rest));
  }
  void CheckEnd(Mask lanes, const Instruction& in) const {
    for (const AsyncCopy& copy : warp_.copies)
      if ((lanes >> copy.lane & 1) != 0)
        Misuse(warp_, in, copy.lane, "the end, with an asynchronous copy nobody has waited for");
  }

  // Whether all lanes that an operation names are here; otherwise the group waits for them.
  bool Complete(const Instruction& in, Mask active, Group& group) const {
    Mask wanted = kAllLanes;
    if (in.kind == Kind::kMaskedSync) {
      const auto* masks = Lanes<uint32_t>(warp_, in.at[3]);
      wanted = 0;
      ForLanes(active, [&](int lane) { wanted |= masks[lane]; });
      ForLanes(active, [&](int lane) {
        if ((masks[lane] >> lane & 1) == 0)
          Misuse(warp_, in, lane, "a warp operation whose mask leaves its own lane out");
      });
      wanted &= warp_.alive;
    }
    if ((wanted & ~active) == 0) return true;
    group.waits = true;
    return false;
  }

  Warp& warp_;
  const std::vector<Instruction>& code_;
};

void SetSpecials(Warp* warp) {
  const Block& block = *warp->block;
  for (const SpecialRegister& special : block.program->specials) {
    auto* lanes = Lanes<uint32_t>(*warp, special.slot);
    for (int lane = 0; lane < kLanes; ++lane) {
      uint32_t value = 0;
      switch (special.what) {
        case Special::kTid:
          value = special.axis == 0 ? static_cast<uint32_t>(kLanes * warp->number + lane) : 0;
          break;
        case Special::kBlockDim:
          value = special.axis == 0 ? block.threads : 1;
          break;
        case Special::kBlock:
          value = block.index[special.axis];
          break;
        case Special::kGrid:
          value = block.grid[special.axis];
          break;
      }
      lanes[lane] = value;
    }
  }
}

Warp NewWarp(Block* block, int number) {
  const Program& program = *block->program;
  Warp warp;
  warp.block = block;
  warp.number = number;
  warp.slots.resize(program.slots);
  warp.predicates.resize(program.predicates);
  warp.local.resize(kLanes * program.local_bytes);
  warp.stacked.resize(kLanes * program.stacked_bytes);
  for (const Constant& constant : program.constants) {
    for (int lane = 0; lane < kLanes; ++lane) {
      if (constant.wide) {
        Put(warp, constant.slot, lane, constant.bits);
      } else {
        Put(warp, constant.slot, lane, static_cast<uint32_t>(constant.bits));
      }
    }
  }
  return warp;
}

void RunBlock(Block* block, std::vector<Warp>* warps) {
  std::memset(block->shared, kSharedSentinel, block->dynamic_bytes);
  std::memset(block->shared + kStaticShared, kSharedSentinel, block->program->shared_bytes);
  std::fill(block->shared_written.begin(), block->shared_written.end(), uint8_t{0});
  for (Warp& warp : *warps) {
    SetSpecials(&warp);
    warp.alive = kAllLanes;
    warp.groups.assign(1, {});
    warp.groups[0].lanes = kAllLanes;
    warp.copies.clear();
    std::fill(std::begin(warp.committed), std::end(warp.committed), 0);
    // What a lane has not written is not its own.
    std::fill(warp.local.begin(), warp.local.end(), kSharedSentinel);
  }
  for (;;) {
    for (Warp& warp : *warps) Scheduler(&warp).Run();
    bool waiting = false;
    for (Warp& warp : *warps) {
      for (Group& group : warp.groups) {
        group.at_barrier = false;
        waiting = true;
      }
    }
    if (!waiting) return;
  }
}

}  // namespace

void Run(const Program& program, const LaunchSize& size, const std::vector<uint8_t>& parameters,
         std::vector<Count>* counts) {
  FTT_CHECK(parameters.size() == program.parameter_bytes, "PTX: {} bytes of parameters, not {}",
            parameters.size(), program.parameter_bytes);
  FTT_CHECK(size.threads > 0 && size.threads % kLanes == 0 &&
                static_cast<int>(size.threads) <= program.most_threads,
            "PTX: {} threads a block where a multiple of 32 up to {} may be", size.threads,
            program.most_threads);
  if (counts != nullptr) counts->resize(program.code.size());
  thread_local std::vector<Slot> shared_memory;
  const size_t shared_slots = (kStaticShared + program.shared_bytes) / sizeof(Slot) + 1;
  if (shared_memory.size() < shared_slots) shared_memory.resize(shared_slots);
  Block block;
  block.program = &program;
  block.counts = counts;
  block.parameters = parameters;
  block.threads = size.threads;
  block.shared = reinterpret_cast<uint8_t*>(shared_memory.data());
  block.dynamic_bytes = size.shared_bytes;
  if (ChecksReads()) block.shared_written.resize(kStaticShared + program.shared_bytes);
  std::copy_n(size.grid, 3, block.grid);
  std::vector<Warp> warps;
  for (unsigned i = 0; i < size.threads / kLanes; ++i)
    warps.push_back(NewWarp(&block, static_cast<int>(i)));
  for (block.index[2] = 0; block.index[2] < block.grid[2]; ++block.index[2])
    for (block.index[1] = 0; block.index[1] < block.grid[1]; ++block.index[1])
      for (block.index[0] = 0; block.index[0] < block.grid[0]; ++block.index[0])
        RunBlock(&block, &warps);
}

void Misuse(const Warp& warp, const Instruction& instruction, int lane, const std::string& what) {
  const Block& block = *warp.block;
  Fail("PTX of {}: {}; '{}' at {}, block ({}, {}, {}), thread {}", block.program->name, what,
       block.program->text[instruction.text], Describe(*block.program, instruction.source),
       block.index[0], block.index[1], block.index[2], kLanes * warp.number + std::max(lane, 0));
}

uint8_t* Resolve(const Warp& warp, const Instruction& in, int lane, uint64_t address, Space space,
                 size_t bytes, size_t alignment, Access access) {
  Block& block = *warp.block;
  const Program& program = *block.program;
  const auto fail = [&](const char* what) {
    Misuse(warp, in, lane, fmt::format("{} at {:#x}, {} bytes", what, address, bytes));
  };
  const auto note = [&](uint8_t* written) {
    if (access == Access::kWrite) {
      std::memset(written, 1, bytes);
    } else if (access == Access::kRead &&
               std::count(written, written + bytes, uint8_t{1}) != static_cast<int64_t>(bytes)) {
      fail("a read of what nobody wrote");
    }
  };
  if (address % alignment != 0) fail("an access that is not aligned");
  const auto base = reinterpret_cast<uintptr_t>(block.shared);
  const size_t local_at = static_cast<size_t>(lane) * program.local_bytes;
  const auto in_shared = [&](uint64_t offset) {
    return Range{0, block.dynamic_bytes}.Has(offset, bytes) ||
           Range{kStaticShared, program.shared_bytes}.Has(offset, bytes);
  };
  const auto shared = [&](uint64_t offset) {
    if (!block.shared_written.empty()) note(block.shared_written.data() + offset);
    return block.shared + offset;
  };
  switch (space) {
    case Space::kShared:
      if (!in_shared(address)) fail("outside of shared memory");
      return shared(address);
    case Space::kLocal:
      if (!Range{0, program.local_bytes}.Has(address, bytes)) fail("outside of local memory");
      return const_cast<uint8_t*>(warp.local.data()) + local_at + address;
    case Space::kParameter: {
      const bool uniform = in.uniform_parameter;
      if (!Range{0, uniform ? block.parameters.size() : program.stacked_bytes}.Has(address, bytes))
        fail("outside of the parameters");
      const uint8_t* from =
          uniform ? block.parameters.data()
                  : warp.stacked.data() + static_cast<size_t>(lane) * program.stacked_bytes;
      return const_cast<uint8_t*>(from) + address;
    }
    case Space::kGlobal:
    case Space::kGeneric:
      break;
  }
  auto* at = reinterpret_cast<uint8_t*>(address);
  if (!warp.recent.Has(address, bytes)) {
    if (space == Space::kGeneric) {
      const auto local = reinterpret_cast<uintptr_t>(warp.local.data()) + local_at;
      if (Range{local, program.local_bytes}.Has(address, bytes) ||
          Range{reinterpret_cast<uintptr_t>(block.parameters.data()), block.parameters.size()}.Has(
              address, bytes))
        return at;
      if (in_shared(address - base)) return shared(address - base);
    }
    const Range found = DeviceAllocations().Find(address);
    if (!found.Has(address, bytes)) fail("memory that is not the device's");
    warp.recent = found;
  }
  if (warp.recent.written != nullptr) note(warp.recent.written + (address - warp.recent.from));
  return at;
}

}  // namespace ftt::ptx
