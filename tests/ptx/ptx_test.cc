#include <gtest/gtest.h>
TEST(PtxTest, Nothing) {}
