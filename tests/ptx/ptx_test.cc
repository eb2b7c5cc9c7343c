// The interpreter itself, with code written by hand. That it runs all kernels as they should be run
// is what cuda_ptx_test shows.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/ptx/launch.h"
#include "tests/ptx/loader.h"
#include "tests/ptx/warp.h"

namespace ftt::ptx {
namespace {

// A kernel of one 64-bit parameter, memory that it may use, and what it leaves there.
class Machine {
 public:
  static constexpr size_t kWords = 64;

  // of_device: what is in the memory counts as not written.
  explicit Machine(bool of_device = false)
      : memory_(static_cast<uint32_t*>(DeviceAllocations().Allocate(4 * kWords, of_device))) {
    std::fill_n(memory_, kWords, 0x5B5B5B5Bu);
  }
  ~Machine() { DeviceAllocations().Free(memory_); }

  // %rd1 is the memory's address, %r1 the thread.
  void Run(const std::string& body, unsigned threads = 32, const std::string& before = "") {
    const std::string text =
        ".version 9.0\n.target sm_90\n.address_size 64\n.file\t1 \"some.cu\"\n" + before +
        ".visible .entry kernel(\n.param .u64 kernel_param_0\n)\n{\n"
        ".reg .pred %p<9>;\n.reg .b16 %rs<9>;\n.reg .b32 %r<30>;\n"
        ".reg .f32 %f<9>;\n.reg .b64 %rd<30>;\n.reg .f64 %fd<9>;\n"
        "ld.param.u64 %rd9, [kernel_param_0];\ncvta.to.global.u64 %rd1, %rd9;\n"
        "mov.u32 %r1, %tid.x;\n.loc\t1 42 3\n" +
        body + "\nret;\n}\n";
    program = Load(text, "kernel");
    std::vector<uint8_t> parameters(8);
    const auto address = reinterpret_cast<uintptr_t>(memory_);
    std::memcpy(parameters.data(), &address, 8);
    counts.clear();
    ptx::Run(program, {{1, 1, 1}, threads, 512}, parameters, &counts);
  }
  // The same, then stores %r2 of each thread; what the threads had.
  std::vector<uint32_t> Words(const std::string& body, const std::string& before = "",
                              unsigned threads = 32) {
    Run(body +
            "\nmul.wide.u32 %rd2, %r1, 4;\nadd.s64 %rd3, %rd1, %rd2;\nst.global.u32 [%rd3], %r2;\n",
        threads, before);
    return {memory_, memory_ + threads};
  }
  // The message of the error that this must give.
  std::string Refused(const std::string& body, unsigned threads = 32) {
    try {
      Run(body, threads);
    } catch (const Error& error) {
      return error.what();
    }
    ADD_FAILURE() << "not refused: " << body;
    return "";
  }

  Program program;
  std::vector<Count> counts;

 private:
  uint32_t* memory_;
};

void Contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in: " << text;
}

struct Operation {
  const char* code;  // leaves its result in %r2
  uint32_t expected;
};
std::ostream& operator<<(std::ostream& out, const Operation& o) { return out << o.code; }

class OperationTest : public ::testing::TestWithParam<Operation> {};

// Whole warps and parts of them go different ways.
TEST_P(OperationTest, GivesWhatThePtxIsaSays) {
  Machine machine;
  EXPECT_EQ(machine.Words(GetParam().code)[31], GetParam().expected);
  const std::string part =
      std::string("mov.u32 %r2, 7;\nsetp.lt.u32 %p8, %r1, 5;\n@%p8 bra $end;\n") + GetParam().code +
      "\n$end:\n";
  const std::vector<uint32_t> words = machine.Words(part);
  EXPECT_EQ(words[4], 7u);
  EXPECT_EQ(words[5], GetParam().expected);
}

const Operation kOperations[] = {
    {"add.s32 %r2, -1, 3;", 2},
    {"shl.b32 %r2, 1, 31;", 0x80000000u},
    {"shl.b32 %r2, 1, 32;", 0},
    {"mov.u32 %r3, -8;\nshr.s32 %r2, %r3, 40;", 0xFFFFFFFFu},
    {"mov.u32 %r3, -8;\nshr.u32 %r2, %r3, 31;", 1},
    {"mov.u32 %r3, -8;\nshr.u32 %r2, %r3, 32;", 0},
    {"mov.u32 %r3, -2;\nmul.hi.s32 %r2, %r3, 3;", 0xFFFFFFFFu},
    {"mov.u32 %r3, -2;\nmul.hi.u32 %r2, %r3, 3;", 2},
    {"mov.u32 %r3, -7;\ndiv.s32 %r2, %r3, 2;", 0xFFFFFFFDu},
    {"mov.u32 %r3, -7;\nrem.s32 %r2, %r3, 2;", 0xFFFFFFFFu},
    {"mov.u32 %r3, -7;\ndiv.u32 %r2, %r3, 2;", 0x7FFFFFFCu},
    {"mov.u32 %r3, -3;\nmul.wide.s32 %rd4, %r3, 5;\nshr.u64 %rd5, %rd4, 32;\ncvt.u32.u64 %r2, "
     "%rd5;",
     0xFFFFFFFFu},
    {"mov.u16 %rs1, 65535;\nmul.wide.u16 %r2, %rs1, %rs1;", 0xFFFE0001u},
    {"mov.u32 %r3, -5;\nmin.u32 %r2, %r3, 4;", 4},
    {"mov.u32 %r3, -5;\nmin.s32 %r2, %r3, 4;", 0xFFFFFFFBu},
    {"mov.u32 %r3, 0x80017FFF;\nmax.s16x2 %r2, %r3, 0;", 0x00007FFFu},
    // Byte 7 of the pair, the sign of byte 1, byte 4, the sign of byte 0.
    {"mov.u32 %r3, 0x11228033;\nmov.u32 %r4, 0xAABBCCDD;\nprmt.b32 %r2, %r3, %r4, 0x7948;",
     0xAAFFDD00u},
    {"mov.u32 %r3, 0x80FF027F;\nmov.u32 %r4, 0x01FF0302;\ndp4a.s32.s32 %r2, %r3, %r4, 10;", 143},
    {"mov.u32 %r3, 0x8000FFFF;\nmov.u32 %r4, 0x000002FD;\ndp2a.lo.s32.s32 %r2, %r3, %r4, 1;",
     0xFFFF0004u},
    {"mov.u32 %r3, 5;\nbfi.b32 %r2, 0xFF, %r3, 3, 2;", 0x1D},
    {"mov.u32 %r3, 5;\nbfi.b32 %r2, %r3, 0, 0, 32;", 5},
    {"mov.u32 %r3, 0x80000001;\nbrev.b32 %r2, %r3;", 0x80000001u},
    {"mov.u32 %r3, 0x6;\nbrev.b32 %r2, %r3;", 0x60000000u},
    {"mov.u32 %r3, 0x00010000;\nbfind.shiftamt.u32 %r2, %r3;", 15},
    {"bfind.shiftamt.u32 %r2, 0;", 0xFFFFFFFFu},
    {"mov.u32 %r3, 0x80000000;\nmov.u32 %r4, 3;\nshf.l.wrap.b32 %r2, %r3, %r4, 33;", 7},
    {"mov.u32 %r3, 0xF0F0;\npopc.b32 %r2, %r3;", 8},
    {"mov.u16 %rs1, 0x80;\ncvt.s32.s8 %r2, %rs1;", 0xFFFFFF80u},
    {"mov.u32 %r3, -1;\ncvt.s64.s32 %rd4, %r3;\nshr.u64 %rd5, %rd4, 40;\ncvt.u32.u64 %r2, %rd5;",
     0x00FFFFFFu},
    {"mov.f32 %f1, 0fC0200000;\ncvt.rzi.s32.f32 %r2, %f1;", 0xFFFFFFFEu},  // -2.5
    {"mov.f32 %f1, 0f4F800000;\ncvt.rzi.s32.f32 %r2, %f1;", 0x7FFFFFFFu},  // 2^32
    {"mov.f32 %f1, 0f7FC00000;\ncvt.rzi.s32.f32 %r2, %f1;", 0},            // NaN
    {"mov.f32 %f1, 0f40200000;\ncvt.rni.f32.f32 %f2, %f1;\nmov.b32 %r2, %f2;", 0x40000000u},
    {"mov.f32 %f1, 0f3F802000;\nmov.f32 %f2, 0f3F801000;\ncvt.rn.f16x2.f32 %r2, %f1, %f2;",
     0x3C013C00u},
    {"mov.f32 %f1, 0f3F818000;\nmov.f32 %f2, 0f3F808000;\ncvt.rn.bf16x2.f32 %r2, %f1, %f2;",
     0x3F823F80u},
    // 128 + 5 - 256 and 1.0078125 - 2^-8, halfway between two values, whose even one it becomes.
    {"mov.u32 %r3, 0x3F814305;\nmov.u32 %r4, 0x3F803F80;\nmov.u32 %r5, 0xBB80C380;\n"
     "fma.rn.bf16x2 %r2, %r3, %r4, %r5;",
     0x3F80C2F6u},
    {"mov.b32 {%rs1, %rs2}, 0x12345678;\nmov.b32 %r2, {%rs2, %rs1};", 0x56781234u},
    // A number beats what is none; -0 is less than 0.
    {"mov.f32 %f1, 0f7FC00000;\nmin.f32 %f2, %f1, 0f3F800000;\nmov.b32 %r2, %f2;", 0x3F800000u},
    {"mov.f32 %f1, 0f80000000;\nmax.f32 %f2, %f1, 0f00000000;\nmov.b32 %r2, %f2;", 0},
    {"mov.f32 %f1, 0f7FC00000;\nsetp.lt.f32 %p1, %f1, %f1;\nselp.u32 %r2, 1, 2, %p1;", 2},
    {"mov.f32 %f1, 0f7FC00000;\nsetp.geu.f32 %p1, %f1, %f1;\nselp.u32 %r2, 1, 2, %p1;", 1},
    // A product that rounds, and one that does not.
    {"mov.f32 %f1, 0f3F800001;\nmul.rn.f32 %f2, %f1, %f1;\nadd.rn.f32 %f3, %f2, 0fBF800002;\n"
     "mov.b32 %r2, %f3;",
     0},
    {"mov.f32 %f1, 0f3F800001;\nfma.rn.f32 %f3, %f1, %f1, 0fBF800002;\nmov.b32 %r2, %f3;",
     0x28800000u},
    {"setp.eq.s32 %p1, 1, 1;\nsetp.eq.s32 %p2, 1, 2;\nxor.pred %p3, %p1, %p2;\nnot.pred %p4, %p3;\n"
     "selp.u32 %r2, 1, 2, %p4;",
     2},
};
INSTANTIATE_TEST_SUITE_P(All, OperationTest, ::testing::ValuesIn(kOperations));

TEST(PtxTest, LanesThatPartMeetAgain) {
  Machine machine;
  // Lane l goes around l % 3 times, then all take the sum of two lanes.
  const std::vector<uint32_t> words = machine.Words(
      "rem.u32 %r3, %r1, 3;\nmov.u32 %r4, 0;\n$loop:\nsetp.ge.u32 %p1, %r4, %r3;\n@%p1 bra $out;\n"
      "add.s32 %r4, %r4, 1;\nbra.uni $loop;\n$out:\n"
      "shfl.sync.bfly.b32 %r5|%p2, %r4, 1, 31, -1;\nadd.s32 %r2, %r4, %r5;");
  for (uint32_t lane = 0; lane < 32; ++lane)
    EXPECT_EQ(words[lane], lane % 3 + (lane ^ 1) % 3) << lane;
}

TEST(PtxTest, CallsOfAPartOfAWarp) {
  Machine machine;
  const char* function =
      ".func twice(\n.param .b64 twice_param_0,\n.param .b32 twice_param_1\n)\n{\n.reg .b32 "
      "%r<3>;\n"
      ".reg .b64 %rd<3>;\nld.param.u64 %rd1, [twice_param_0];\nld.param.u32 %r1, [twice_param_1];\n"
      "add.s32 %r2, %r1, %r1;\nst.u32 [%rd1], %r2;\nret;\n}\n";
  const std::vector<uint32_t> words = machine.Words(
      ".local .align 4 .b8 depot[4];\nmov.u64 %rd20, depot;\ncvta.local.u64 %rd21, %rd20;\n"
      "mov.u32 %r2, 1;\nsetp.gt.u32 %p1, %r1, 9;\n@%p1 bra $end;\n{\n.param .b64 param0;\n"
      "st.param.b64 [param0+0], %rd21;\n.param .b32 param1;\nst.param.b32 [param1+0], %r1;\n"
      "call.uni twice, (param0, param1);\n}\nld.local.u32 %r2, [%rd20];\n$end:\n",
      function);
  for (uint32_t lane = 0; lane < 32; ++lane) EXPECT_EQ(words[lane], lane > 9 ? 1 : 2 * lane);
}

TEST(PtxTest, WarpsMeetAtBarriers) {
  Machine machine;
  // Each warp reads what the other one stored.
  const std::vector<uint32_t> words = machine.Words(
      ".shared .align 4 .b8 row[256];\nmov.u32 %r3, row;\nshl.b32 %r4, %r1, 2;\n"
      "add.s32 %r5, %r3, %r4;\nst.shared.u32 [%r5], %r1;\nbar.sync 0;\nxor.b32 %r6, %r4, 128;\n"
      "add.s32 %r7, %r3, %r6;\nld.shared.u32 %r2, [%r7];",
      "", 64);
  for (uint32_t thread = 0; thread < 64; ++thread) EXPECT_EQ(words[thread], thread ^ 32);
}

TEST(PtxTest, MemoryThatIsNotTheKernels) {
  Machine machine;
  machine.Run("ld.global.u32 %r2, [%rd1+252];");
  Contains(machine.Refused("ld.global.u32 %r2, [%rd1+256];"), "memory that is not the device's");
  Contains(machine.Refused("st.global.u32 [%rd1+-4], %r1;"), "memory that is not the device's");
  Contains(machine.Refused("ld.global.u8 %rs1, [%rd1+256];"), "1 bytes");
  Contains(machine.Refused("ld.global.v2.u32 {%r2, %r3}, [%rd1+4];"), "not aligned");
  Contains(machine.Refused("mov.u32 %r3, 512;\nld.shared.u32 %r2, [%r3];"), "outside of shared");
  machine.Run("mov.u32 %r3, 508;\nld.shared.u32 %r2, [%r3];");
  // It says which thread, and where.
  const std::string message = machine.Refused(
      "mul.wide.u32 %rd2, %r1, 16;\nadd.s64 %rd3, %rd1, %rd2;\n"
      "ld.global.u32 %r2, [%rd3];");
  Contains(message, "thread 16");
  Contains(message, "ld.global.u32 %r2");
  Contains(message, "some.cu:42");
}

// A process that asks for it.
TEST(PtxDeathTest, ReadsOfWhatNobodyWrote) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  const auto run = [](const char* body) {
    setenv("FTT_PTX_INITCHECK", "1", 1);
    int status = 0;
    try {
      Machine(true).Run(body);
    } catch (const Error& error) {
      std::fputs(error.what(), stderr);
      status = 3;
    }
    std::exit(status);
  };
  const std::string store =
      "mul.wide.u32 %rd2, %r1, 8;\nadd.s64 %rd3, %rd1, %rd2;\n"
      "st.global.u32 [%rd3], %r1;\n";
  EXPECT_EXIT(run((store + "ld.global.u32 %r2, [%rd3];").c_str()), ::testing::ExitedWithCode(0),
              "");
  EXPECT_EXIT(run((store + "ld.global.u32 %r2, [%rd3+4];").c_str()), ::testing::ExitedWithCode(3),
              "a read of what nobody wrote");
  const std::string shared = "shl.b32 %r3, %r1, 3;\nst.shared.u32 [%r3], %r1;\n";
  EXPECT_EXIT(run((shared + "ld.shared.u32 %r2, [%r3];").c_str()), ::testing::ExitedWithCode(0),
              "");
  EXPECT_EXIT(run((shared + "ld.shared.v2.u32 {%r2, %r4}, [%r3];").c_str()),
              ::testing::ExitedWithCode(3), "a read of what nobody wrote");
}

TEST(PtxTest, WhatWarpsMustDoTogether) {
  Machine machine;
  const std::string part = "setp.gt.u32 %p1, %r1, 7;\n@%p1 bra $end;\n";
  Contains(machine.Refused(part + "bar.sync 0;\n$end:"), "barrier for a part of a warp");
  Contains(machine.Refused(part + "shfl.sync.bfly.b32 %r2|%p2, %r1, 1, 31, -1;\n$end:\n"
                                  "bar.warp.sync -1;"),
           "not all of its lanes reach");
  machine.Run(part + "shfl.sync.bfly.b32 %r2|%p2, %r1, 1, 31, 255;\n$end:");
  Contains(machine.Refused(part + "shfl.sync.bfly.b32 %r2|%p2, %r1, 8, 31, 255;\n$end:"),
           "not in it");
  Contains(machine.Refused(part + "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r2, %r3, %r4, %r5}, "
                                  "[%r6];\n$end:\nbar.warp.sync -1;"),
           "not all of its lanes reach");
  // Lanes that have ended take part in nothing.
  machine.Run("setp.gt.u32 %p1, %r1, 7;\n@%p1 ret;\nbar.warp.sync -1;");
}

TEST(PtxTest, AsynchronousCopiesArriveWhenWaitedFor) {
  Machine machine;
  const std::string copy =
      "shl.b32 %r3, %r1, 4;\nrem.u32 %r4, %r3, 256;\ncvt.u64.u32 %rd2, %r4;\nadd.s64 %rd3, %rd1, "
      "%rd2;\n"
      "cp.async.cg.shared.global [%r3], [%rd3], 16, 4;\ncp.async.commit_group;\n";
  const std::string wait = "cp.async.wait_group 0;\n";
  EXPECT_EQ(machine.Words(copy + wait + "ld.shared.u32 %r2, [%r3];")[3], 0x5B5B5B5Bu);
  EXPECT_EQ(machine.Words(copy + wait + "ld.shared.u32 %r2, [%r3+4];")[3], 0u);
  EXPECT_EQ(machine.Words(copy + "ld.shared.u32 %r2, [%r3];\n" + wait)[3], 0xA7A7A7A7u);
  EXPECT_EQ(machine.Words(copy + "cp.async.wait_group 1;\nld.shared.u32 %r2, [%r3];\n" + wait)[3],
            0xA7A7A7A7u);
  Contains(machine.Refused(copy), "nobody has waited for");
}

TEST(PtxTest, CountsPassesThroughBanksAndSectors) {
  Machine machine;
  const auto count = [&](const std::string& address, const std::string& access) {
    machine.Run(address + "\n" + access);
    // The access is the last but for two returns.
    return machine.counts[machine.counts.size() - 3];
  };
  const std::string load = "ld.shared.u32 %r2, [%r3];";
  EXPECT_EQ(count("shl.b32 %r3, %r1, 2;", load).passes, 1);
  EXPECT_EQ(count("mov.u32 %r3, 4;", load).passes, 1);  // one word for all
  EXPECT_EQ(count("shl.b32 %r3, %r1, 3;", load).passes, 2);
  EXPECT_EQ(count("shl.b32 %r4, %r1, 7;\nand.b32 %r3, %r4, 511;", load).passes, 4);
  const Count wide = count("shl.b32 %r3, %r1, 4;", "ld.shared.v4.u32 {%r2, %r4, %r5, %r6}, [%r3];");
  EXPECT_EQ(wide.passes, 4);
  EXPECT_EQ(wide.fewest, 4);
  const Count global =
      count("and.b32 %r3, %r1, 7;\nmul.wide.u32 %rd2, %r3, 32;\nadd.s64 %rd3, %rd1, %rd2;",
            "ld.global.u32 %r2, [%rd3];");
  EXPECT_EQ(global.passes, 8);
  EXPECT_EQ(global.fewest, 1);
  EXPECT_EQ(global.executed, 1);
  EXPECT_EQ(global.lanes, 32);
}

TEST(PtxTest, WhatIsNotKnownIsNamed) {
  Machine machine;
  Contains(machine.Refused("sin.approx.f32 %f1, %f2;"), "sin.approx.f32");
  Contains(machine.Refused("add.s32 %r1, %r2, %unknown;"), "'%unknown' is not known");
  Contains(machine.Refused("bra $nowhere;"), "no label $nowhere");
  Contains(machine.Refused("add.s32 %rd1, %r2, 1;"), "wrong size");
  EXPECT_THROW(Load(".version 9.0\n", "kernel"), Error);
}

}  // namespace
}  // namespace ftt::ptx
