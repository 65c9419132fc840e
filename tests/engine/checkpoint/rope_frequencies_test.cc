#include "engine/checkpoint/rope_frequencies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace switchyard {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

struct ReadRope {
  RopeFrequencies frequencies;
  absl::Status status;
  std::vector<std::string> warnings;
};

ReadRope Read(const std::string& config, int64_t max_position_embeddings = 4096) {
  const auto json = nlohmann::json::parse(config);
  JsonFields fields("config.json", json);
  ReadRope read;
  read.frequencies = ReadRopeFrequencies(fields, 32, max_position_embeddings, read.warnings);
  read.status = fields.status();
  return read;
}

void ExpectFrequencies(const ReadRope& read, const std::vector<float>& expected, float attention_factor) {
  ASSERT_TRUE(read.status.ok()) << read.status;
  ASSERT_THAT(read.frequencies.inv_freq, SizeIs(expected.size()));
  for (size_t i = 0; i < expected.size(); ++i) {
    // Two roundings of float32: the powers of two libraries differ in the last bit.
    EXPECT_NEAR(read.frequencies.inv_freq[i], expected[i], expected[i] * 2.4e-7f) << i;
  }
  EXPECT_FLOAT_EQ(read.frequencies.attention_factor, attention_factor);
}

// Expected values are what modeling_rope_utils of transformers 5.23 computes in float32 for head_dim 32.

TEST(RopeFrequencies, DefaultUsesMixtralsThetaWhereNoneIsGiven) {
  const std::vector<float> expected = {
      1.0f,           0.421696514f,    0.177827939f,    0.0749894157f,  0.0316227786f,
      0.0133352149f,  0.00562341325f,  0.00237137382f,  0.00100000005f, 0.000421696546f,
      0.00017782794f, 7.49894243e-05f, 3.16227743e-05f, 1.3335216e-05f, 5.62341347e-06f,
      2.37137374e-06f};
  ExpectFrequencies(Read("{}"), expected, 1.0f);
  ExpectFrequencies(Read(R"({"rope_theta": 1e6, "rope_scaling": null})"), expected, 1.0f);
  ExpectFrequencies(Read(R"({"rope_theta": 5, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000}})"),
                    expected, 1.0f);
}

TEST(RopeFrequencies, LinearDividesByTheFactor) {
  const std::vector<float> expected = {0.25f,           0.140585333f,    0.079056941f,    0.0444569848f,
                                       0.0250000004f,   0.0140585322f,   0.00790569466f,  0.00444569858f,
                                       0.00249999994f,  0.00140585331f,  0.000790569466f, 0.000444569858f,
                                       0.000250000012f, 0.000140585325f, 7.90569466e-05f, 4.44569851e-05f};
  ExpectFrequencies(Read(R"({"rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 4}})"), expected, 1.0f);
}

TEST(RopeFrequencies, Llama3KeepsFastAndStretchesSlowDimensions) {
  const std::vector<float> expected = {1.0f,
                                       0.440366626f,
                                       0.193922758f,
                                       0.0853971019f,
                                       0.0376060307f,
                                       0.0165604409f,
                                       0.00729266508f,
                                       0.00321144611f,
                                       0.000524846022f,
                                       7.78465546e-05f,
                                       3.42810235e-05f,
                                       1.50962178e-05f,
                                       6.64787058e-06f,
                                       2.92749974e-06f,
                                       1.28917316e-06f,
                                       5.6770881e-07f};
  ExpectFrequencies(Read(R"({"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
                             "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                             "original_max_position_embeddings": 8192}})"),
                    expected, 1.0f);
}

const std::vector<float> kYarn = {1.0f,           0.562341332f,    0.316227764f,    0.177827939f,
                                  0.100000001f,   0.0562341288f,   0.0273875836f,   0.0130195469f,
                                  0.00598214241f, 0.0026108704f,   0.00104468106f,  0.000349304872f,
                                  6.2500003e-05f, 3.51463314e-05f, 1.97642366e-05f, 1.11142463e-05f};

TEST(RopeFrequencies, YarnBlendsAndScalesAttention) {
  ExpectFrequencies(Read(R"({"rope_theta": 1e4, "rope_scaling": {"rope_type": "yarn", "factor": 16.0,
                             "original_max_position_embeddings": 4096}})"),
                    kYarn, 1.27725887f);
}

TEST(RopeFrequencies, YarnTakesItsFactorFromTheContextsWhereNoneIsGiven) {
  ExpectFrequencies(Read(R"({"rope_theta": 1e4, "original_max_position_embeddings": 4096,
                             "rope_parameters": {"rope_type": "yarn"}})",
                         65536),
                    kYarn, 1.27725887f);
}

TEST(RopeFrequencies, YarnHonoursItsOptionalFields) {
  const std::vector<float> expected = {
      1.0f,           0.562341332f,    0.316227764f,    0.177827939f,    0.100000001f,
      0.0562341288f,  0.0297362674f,   0.012705408f,    0.0048861187f,   0.00147753034f,
      0.00011662647f, 4.44569851e-05f, 2.49999994e-05f, 1.40585325e-05f, 7.90569447e-06f,
      4.44569832e-06f};
  ExpectFrequencies(Read(R"({"rope_theta": 1e4, "rope_scaling": {"rope_type": "yarn", "factor": 40.0, "mscale": 1.0,
                             "original_max_position_embeddings": 4096, "mscale_all_dim": 0.707, "beta_fast": 24,
                             "beta_slow": 2, "truncate": false}})"),
                    expected, 1.0857264f);
  const ReadRope given = Read(R"({"rope_scaling": {"rope_type": "yarn", "factor": 4, "attention_factor": 1.5}})");
  EXPECT_FLOAT_EQ(given.frequencies.attention_factor, 1.5f);
}

TEST(RopeFrequencies, UnknownTypesAreRefusedByName) {
  for (const std::string type : {"dynamic", "longrope", "su", "mrope"}) {
    const ReadRope read = Read(R"({"rope_scaling": {"factor": 2, "type": ")" + type + R"("}})");
    EXPECT_THAT(std::string(read.status.message()), HasSubstr("config.json: rope_scaling: rope_type is '" + type));
    EXPECT_THAT(std::string(read.status.message()), HasSubstr("default, linear, llama3 and yarn"));
  }
}

TEST(RopeFrequencies, FaultsNameTheFieldAndTheLimit) {
  const std::vector<std::pair<std::string, std::string>> faults = {
      {R"({"rope_theta": 0})", "rope_theta is 0; it must be a number greater than 1"},
      {R"({"rope_theta": "big"})", "rope_theta is \"big\"; it must be a number"},
      {R"({"rope_scaling": 4})", "rope_scaling is 4; it must be an object or null"},
      {R"({"rope_scaling": {"type": "linear"}})", "rope_scaling: factor is missing"},
      {R"({"rope_scaling": {"type": "linear", "factor": 0}})", "factor is 0; it must be a number greater than 0"},
      {R"({"rope_scaling": {"type": "linear", "factor": -2}})", "factor is -2"},
      {R"({"rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}})",
       "high_freq_factor is 4; it must be above low_freq_factor 4"},
      {R"({"rope_scaling": {"type": "yarn", "factor": 8, "original_max_position_embeddings": 0}})",
       "original_max_position_embeddings is 0; it must be at least 1"},
      {R"({"partial_rotary_factor": 0.5})", "partial_rotary_factor is 0.5; only 1"},
      {R"({"rope_parameters": {"partial_rotary_factor": 0.5}})", "rope_parameters: partial_rotary_factor is 0.5"},
      {R"({"rope_parameters": {"full_attention": {"rope_theta": 7}}})",
       "rope_parameters: full_attention gives one layer"},
  };
  for (const auto& [config, message] : faults) {
    EXPECT_THAT(std::string(Read(config).status.message()), HasSubstr(message)) << config;
  }
}

TEST(RopeFrequencies, FieldsWithoutMeaningAreNamed) {
  const ReadRope read = Read(R"({"rope_scaling": {"type": "linear", "factor": 4, "beta_fast": 32}})");
  ASSERT_TRUE(read.status.ok()) << read.status;
  ASSERT_THAT(read.warnings, SizeIs(1));
  EXPECT_THAT(read.warnings[0], HasSubstr("config.json: rope_scaling: beta_fast means nothing to rope type 'linear'"));
  EXPECT_THAT(Read(R"({"rope_scaling": {"type": "linear", "factor": 4}})").warnings, IsEmpty());
}

}  // namespace
}  // namespace switchyard
