#include "engine/model/moe_layer.h"

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace switchyard {
namespace {

// Adds the time since its making, or since the last call, to a counter of seconds.
class Stopwatch {
 public:
  void AddTo(double& seconds) {
    const int64_t now = absl::GetCurrentTimeNanos();
    seconds += static_cast<double>(now - last_) * 1e-9;
    last_ = now;
  }

 private:
  int64_t last_ = absl::GetCurrentTimeNanos();
};

}  // namespace

absl::StatusOr<TensorView> RunMoeLayer(const RankContext& rank, const MoeLayerArgs& args, Workspace& workspace,
                                       ExpertForecaster* forecaster, MoeTimes& times) {
  const int64_t tokens = args.layout.residual_rows;
  const TensorView input = workspace.normed.Top(tokens);
  const TensorView experts = workspace.RouterExperts(args.layer, tokens);
  const TensorView router_weights = workspace.router_weights.Top(tokens);
  rank.backend.Route(rank.router(), input, *args.weights.router, args.num_valid,
                     {.experts = experts, .weights = router_weights, .counts = args.counts});

  Stopwatch stopwatch;
  absl::StatusOr<DispatchedRows> dispatched =
      rank.exchange.Dispatch(args.exchange, input, experts, router_weights, args.layout.max_residual_rows);
  if (!dispatched.ok()) return dispatched.status();
  stopwatch.AddTo(times.dispatch);

  absl::StatusOr<ExpertForecast> next = ExpertForecast();
  if (forecaster != nullptr && args.next != nullptr) next = forecaster->Forecast(*args.next, *dispatched);
  if (!next.ok()) return next.status();
  rank.backend.RunExperts(*args.weights.experts, {.rows = dispatched->rows,
                                                  .slots = dispatched->slots,
                                                  .weights = dispatched->weights,
                                                  .first_slot = rank.first_slot,
                                                  .out = dispatched->sums,
                                                  .next = *next});
  stopwatch.AddTo(times.experts);

  absl::StatusOr<TensorView> sums = rank.exchange.Combine();
  if (!sums.ok()) return sums.status();
  stopwatch.AddTo(times.combine);
  return *sums;
}

}  // namespace switchyard
