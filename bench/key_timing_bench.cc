// Whether the time in which a wrong API key is rejected tells anything of the right one: where the first wrong byte
// is, or how long the right key is. Welch's t-test over interleaved measurements of two classes, as in "Dude, is my
// code constant time?" (Reparaz, Balasch, Verbauwhede, 2017): |t| above 4.5 is a leak. In the same run a comparison
// that does leak, byte by byte, shows that a leak would be seen.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/access/authorizer.h"

namespace switchyard {
namespace {

constexpr double kLeak = 4.5;
constexpr size_t kKeyBytes = 48;
constexpr double kKept = 0.9;  // of the measurements, the fastest: interrupts are not the comparison's

// True: `sent`, an Authorization header's value, has the right key.
using Check = std::function<bool(absl::string_view sent)>;
using MakeCheck = Check (*)(const std::string& key);

Check RealCheck(const std::string& key) {
  auto authorizer = std::make_shared<Authorizer>(
      std::vector<ApiKey>{{.name = "right", .digest = DigestOf(key)}, {.name = "other", .digest = DigestOf("other")}});
  return [authorizer](absl::string_view sent) { return authorizer->Allows(sent); };
}

// What nobody should write.
Check LeakyCheck(const std::string& key) {
  return [expected = "Bearer " + key](absl::string_view sent) {
    if (sent.size() != expected.size()) return false;
    for (size_t i = 0; i < sent.size(); ++i) {
      if (static_cast<volatile const char*>(sent.data())[i] != expected[i]) return false;
    }
    return true;
  };
}

struct Class {
  Check check;
  std::string sent;
};

struct Sample {
  double ns;
  bool second;  // of the two classes
};

// Appends `count` measurements, of a class drawn for each. Both are sent from the same memory.
void Measure(const Class (&classes)[2], int count, std::mt19937_64& random, std::vector<Sample>* samples) {
  std::string sent;
  sent.reserve(256);
  for (int i = 0; i < count; ++i) {
    const bool second = (random() & 1) != 0;
    const Class& chosen = classes[second ? 1 : 0];
    sent.assign(chosen.sent);
    const auto begin = std::chrono::steady_clock::now();
    const bool allowed = chosen.check(sent);
    const auto end = std::chrono::steady_clock::now();
    if (allowed) std::abort();  // both keys are wrong
    samples->push_back({std::chrono::duration<double, std::nano>(end - begin).count(), second});
  }
}

struct Moments {
  double count = 0;
  double mean = 0;
  double squares = 0;  // of the deviations from the mean
  void Add(double value) {
    const double deviation = value - mean;
    mean += deviation / ++count;
    squares += deviation * (value - mean);
  }
  double variance_of_mean() const { return squares / (count - 1) / count; }
};

// Prints a line; returns |t|.
double Report(const char* what, std::vector<Sample> samples) {
  const auto limit = samples.begin() + static_cast<ptrdiff_t>(kKept * static_cast<double>(samples.size()));
  std::nth_element(samples.begin(), limit, samples.end(), [](const Sample& a, const Sample& b) { return a.ns < b.ns; });
  Moments moments[2];
  for (auto sample = samples.begin(); sample != limit; ++sample) moments[sample->second ? 1 : 0].Add(sample->ns);
  const double t =
      (moments[0].mean - moments[1].mean) / std::sqrt(moments[0].variance_of_mean() + moments[1].variance_of_mean());
  std::printf("%-58s %8.2f ns %8.2f ns   t = %9.2f\n", what, moments[0].mean, moments[1].mean, t);
  return std::abs(t);
}

std::string RandomKey(size_t size, std::mt19937_64& random) {
  std::string key(size, '\0');
  for (char& c : key) c = static_cast<char>('a' + random() % 26);
  return key;
}

std::string WithWrongByte(std::string key, size_t position) {
  key[position] = '#';
  return key;
}

// A key of its own for each round, so that no place in memory is taken for a property of a class.
constexpr int kRounds = 50;

double PositionTest(const char* what, MakeCheck make, int count, std::mt19937_64& random) {
  std::vector<Sample> samples;
  for (int round = 0; round < kRounds; ++round) {
    const std::string key = RandomKey(kKeyBytes, random);
    const Check check = make(key);
    const Class classes[2] = {{check, "Bearer " + WithWrongByte(key, 0)},
                              {check, "Bearer " + WithWrongByte(key, kKeyBytes - 1)}};
    Measure(classes, count / kRounds, random, &samples);
  }
  return Report(what, std::move(samples));
}

// The same is sent to a server whose key is as long, and to one whose key is longer; but for the length, all of it is
// right until the last byte.
double LengthTest(const char* what, MakeCheck make, int count, std::mt19937_64& random) {
  std::vector<Sample> samples;
  for (int round = 0; round < kRounds; ++round) {
    const std::string key = RandomKey(kKeyBytes, random);
    const std::string sent = "Bearer " + WithWrongByte(key, kKeyBytes - 1);
    const bool longer_first = (random() & 1) != 0;
    Check longer = longer_first ? make(key + "tail") : nullptr;
    const Check as_long = make(key);
    if (!longer_first) longer = make(key + "tail");
    const Class classes[2] = {{as_long, sent}, {longer, sent}};
    Measure(classes, count / kRounds, random, &samples);
  }
  return Report(what, std::move(samples));
}

}  // namespace
}  // namespace switchyard

// Takes the number of measurements of each test, 2 million if it is left out. Fails where the server's comparison
// leaks, or the leaky one does not.
int main(int argc, char** argv) {
  using namespace switchyard;  // NOLINT(google-build-using-namespace)
  const int count = argc > 1 ? std::atoi(argv[1]) : 2'000'000;
  std::mt19937_64 random(20261127);
  std::printf("%d measurements each, the fastest %.0f%% kept; |t| above %.1f is a leak\n", count, 100 * kKept, kLeak);
  const double position = PositionTest("authorizer: first byte wrong, last byte wrong", RealCheck, count, random);
  const double length = LengthTest("authorizer: key of the length sent, longer key", RealCheck, count, random);
  const double leaky_position =
      PositionTest("leaky:      first byte wrong, last byte wrong", LeakyCheck, count, random);
  const double leaky_length = LengthTest("leaky:      key of the length sent, longer key", LeakyCheck, count, random);
  const bool tight = std::max(position, length) < kLeak;
  const bool sees = std::min(leaky_position, leaky_length) > kLeak;
  std::printf("%s\n", !sees ? "INCONCLUSIVE: the leaky comparison was not seen to leak" : tight ? "no leak" : "A LEAK");
  return sees && tight ? EXIT_SUCCESS : EXIT_FAILURE;
}
