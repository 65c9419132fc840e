#include "engine/driver_release.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

TEST(DriverRelease, IsFoundInTheTextOfBothKernelModules) {
  EXPECT_EQ(ParseDriverRelease("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan  9 2025\n"
                               "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"),
            "570.86.15");
  EXPECT_EQ(ParseDriverRelease("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build"),
            "580.95.05");
}

TEST(DriverRelease, IsEmptyWhereNoneIsNamed) {
  EXPECT_EQ(ParseDriverRelease(""), "");
  EXPECT_EQ(ParseDriverRelease("NVRM version: 12 ... ."), "");
}

}  // namespace
}  // namespace switchyard
